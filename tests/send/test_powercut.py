"""No power cut between todo and info loses a message or a recipient: every prefix of the system-call trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.queue import strace
from tests.queue.powercut import Call, Disk, Machine
from tests.send.harness import inject, queue_file
from tests.support import BIN, ROOT, environment

PROGRAM = """
import os, sys
sys.path.insert(0, {root!r})
from qmail.commands.qmail_clean import clean
from qmail.queue.names import Names, split_of
from qmail.send.rewrite import Rewriter
from qmail.send.todo import Preprocessor
os.chdir({queue!r})
names = Names(split_of("."))
rewriter = Rewriter(b"me", frozenset([b"example.org"]), frozenset(), {{}})
if Preprocessor(names, lambda line: None).prepare({number}, rewriter) is None or clean(names, b"todo/{number}") != b"+":
    sys.exit(1)
"""
KINDS = ("info", "local", "remote")


def record(home: Path, directory: Path, number: int) -> list[Call]:
    """What preprocessing an entry does, and qmail-clean after it."""
    program = PROGRAM.format(root=str(ROOT), queue=f"{home}/queue", number=number)
    argv = [str(BIN / "python"), "-IS", "-c", program]
    return strace.parse(strace.record(directory, argv, env=environment()), f"{home}/queue")


def is_safe(disk: Disk, names: dict[str, str], whole: Disk, before: Disk) -> bool:
    """Whether the message can still be delivered to everyone: its entry is whole, or all that was made of it is."""
    if disk.get(names["mess"]) != before[names["mess"]]:
        return False
    if disk.get(names["todo"]) == before[names["todo"]]:
        return True
    return all(disk.get(names[kind]) == whole.get(names[kind]) for kind in KINDS)


@pytest.mark.parametrize("left", [(), ("info",), ("info", "local", "remote")])
@pytest.mark.parametrize("recipients", [[b"one@example.org"], [b"r@y.org"], [b"one@example.org", b"r@y.org"], []])
def test_every_prefix_of_the_trace(home: Path, tmp_path: Path, recipients: list[bytes], left: tuple[str, ...]) -> None:
    """`left` are files of an attempt that was cut before."""
    number = inject(home, b"a@x.org", recipients)
    names = {kind: str(queue_file(home, kind, number).relative_to(home / "queue")) for kind in ("mess", "todo", "intd", *KINDS)}
    before = {names[kind]: queue_file(home, kind, number).read_bytes() for kind in ("mess", "todo")}
    machine = Machine()
    machine.found(before[names["mess"]], names["mess"])
    machine.found(before[names["todo"]], names["todo"], names["intd"])
    for kind in left:
        queue_file(home, kind, number).write_bytes(b"Told")
        machine.found(b"Told", names[kind])
    calls = record(home, tmp_path, number)
    whole = {name: path.read_bytes() for name, path in _files(home, number).items()}
    looked_at = 0
    for position in range(len(calls) + 1):
        for disk in machine.disks():
            looked_at += 1
            assert is_safe(disk, names, whole, before), f"lost, before call {position}: {sorted(disk)}"
        if position < len(calls):
            machine.do(calls[position])
    assert looked_at > len(calls)
    assert not queue_file(home, "todo", number).exists()


def _files(home: Path, number: int) -> dict[str, Path]:
    """The files that were made, by their names in the queue."""
    found = (queue_file(home, kind, number) for kind in KINDS)
    return {str(path.relative_to(home / "queue")): path for path in found if path.exists()}
