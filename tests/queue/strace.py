"""Runs programs under strace(1): what they did to one directory tree, and their death at a chosen system call."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.queue.powercut import Call
from tests.support import peer, run

CALLS = (
    "openat", "link", "linkat", "unlink", "unlinkat", "write", "fsync", "fdatasync", "close", "rename", "renameat",
    "renameat2", "truncate", "ftruncate", "sendto", "chdir", "exit_group",
)  # fmt: skip
"""Every call by which our programs change files, or tell that they have."""
LINE = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)")
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')

Ack = Callable[[str, int, bytes], bool]
"""ack(system call, its first number, its data): whether this call tells the world that the message is safe."""


def exits_0(name: str, number: int, _data: bytes) -> bool:
    """The ack of a command: exit code 0."""
    return name == "exit_group" and number == 0


def command() -> str:
    """The path of strace; the test is skipped where it is missing or may not trace."""
    strace = peer("strace")
    if run([strace, "-o", "/dev/null", "/bin/true"]).returncode != 0:
        pytest.skip("peer program cannot work here: strace (no ptrace)")
    return strace


def traced(argv: Sequence[str], output: Path) -> list[str]:
    """argv under strace; the trace of each of its processes goes to a file `output`.PID."""
    options = ["-ff", "-o", str(output), "-xx", "-s", "10000000", "-e", "trace=" + ",".join(CALLS)]
    return [command(), *options, *argv]


def record(directory: Path, argv: Sequence[str], *, env: Mapping[str, str], input: bytes = b"", script: str = "") -> str:
    """The trace of the one process that argv is, or becomes; `script` runs it as `$@` in a shell of its own."""
    line = traced(argv, directory / "trace")
    done = run(["/bin/sh", "-c", script, "sh", *line] if script else line, env=env, input=input)
    assert done.returncode == 0, done.stderr
    (output,) = directory.glob("trace.*")
    return output.read_text()


def parse(trace: str, root: str, ack: Ack = exits_0) -> list[Call]:
    """The calls that succeeded and concern files below `root` (paths relative to it), and the ack."""
    return list(_Parser(root, ack).calls(trace))


class _Parser:
    def __init__(self, root: str, ack: Ack) -> None:
        self._root = root.rstrip("/") + "/"
        self._ack = ack
        self._cwd = "/"
        self._fds: set[int] = set()

    def calls(self, trace: str) -> list[Call]:
        found: list[Call] = []
        for line in trace.splitlines():
            match = LINE.match(line)
            if match is None or match[3].startswith("-"):
                continue
            found += self._call(match[1], match[2], match[3])
        return found

    def _call(self, name: str, arguments: str, result: str) -> list[Call]:
        assert '"...' not in arguments, "strace cut a string"
        strings = [bytes.fromhex(text.replace("\\x", "")) for text, _ in STRING.findall(arguments)]
        number = re.match(r"-?\d+", arguments)
        if self._ack(name, int(number[0]) if number else -1, strings[0] if strings else b""):
            return [Call("ack")]
        if name == "chdir":
            self._cwd = posixpath.join(self._cwd, strings[0].decode())
            return []
        if name == "openat":
            return self._opened(strings[0], arguments, int(result))
        if number is not None:
            return self._on_descriptor(name, int(number[0]), strings, int(result.replace("?", "0")), arguments)
        return self._on_paths(name, [self._inside(path) for path in strings])

    def _inside(self, path: bytes) -> str:
        """The path relative to the root, "" for one outside."""
        whole = posixpath.normpath(posixpath.join(self._cwd, path.decode()))
        return whole[len(self._root) :] if whole.startswith(self._root) else ""

    def _opened(self, path: bytes, arguments: str, fd: int) -> list[Call]:
        inside = self._inside(path)
        if not inside or inside.startswith("lock/"):
            return []
        self._fds.add(fd)
        assert "O_TRUNC" not in arguments, arguments
        return [Call("create" if "O_CREAT" in arguments else "open", inside, fd=fd)]

    def _on_descriptor(self, name: str, fd: int, strings: list[bytes], result: int, arguments: str) -> list[Call]:
        if fd not in self._fds:
            return []
        if name == "close":
            self._fds.discard(fd)
        if name == "write":
            return [Call("write", fd=fd, data=strings[0][:result])]
        assert name in ("fsync", "close"), arguments
        return [Call(name, fd=fd)]

    def _on_paths(self, name: str, paths: list[str]) -> list[Call]:
        if not any(paths):
            return []
        assert all(paths), (name, paths)
        name = name.removesuffix("at2").removesuffix("at")
        return [Call(name, paths[0], paths[1] if len(paths) > 1 else "")]


def deaths(trace: str, root: str) -> list[tuple[str, int]]:
    """(system call, how many-th of its name) of every call that concerns `root`, for `kill_at`."""
    parser = _Parser(root, lambda *_: False)
    seen: Counter[str] = Counter()
    found: list[tuple[str, int]] = []
    for line in trace.splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        seen[match[1]] += 1
        ours = not match[3].startswith("-") and parser.calls(line)
        if ours or match[1] == "exit_group":
            found.append((match[1], seen[match[1]]))
    return found


def kill_at(name: str, count: int, argv: Sequence[str]) -> list[str]:
    """argv, dying of SIGKILL on entering its count-th call of that name."""
    return [command(), "-o", "/dev/null", "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={count}", *argv]
