"""Processors: the shell command that a full log file goes through before it is put away (daemontools 10.6)."""

from __future__ import annotations

import errno
import os

from qserver.base import chain
from qserver.base.errors import fatal, say
from qserver.log.trouble import insist, pause

SHELL = ("sh", "/bin")
APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
TRUNCATE = os.O_WRONLY | os.O_TRUNC | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
STREAMS: tuple[tuple[int, bytes, int], ...] = (
    (0, b"previous", READ),
    (1, b"processed", TRUNCATE),
    (4, b"state", READ | os.O_CREAT),
    (5, b"newstate", TRUNCATE),
)
"""The processor's descriptors. A state that is missing is made, and is empty."""
SAFE = 0o744


def process(directory: bytes, command: bytes, env: dict[str, str]) -> None:
    """Make `processed` and a new `state` of `previous` in the current directory, however often it takes.

    `directory` is its name for messages. `previous` is gone when this returns, and `processed` safely on disk.
    """
    while not _succeeds(directory, command, env):
        pass
    _sync(directory, b"processed", mark=True)
    _sync(directory, b"newstate", mark=False)
    insist(b"unable to remove %b/previous" % directory, os.unlink, b"previous")
    insist(b"unable to rename newstate to state in directory " + directory, os.rename, b"newstate", b"state")


def _succeeds(directory: bytes, command: bytes, env: dict[str, str]) -> bool:
    """Run the command once; False, after the warning and the pause, if it did not exit 0."""
    streams: list[int] = []
    status = 111 << 8
    try:
        for _, name, flags in STREAMS:
            streams.append(os.open(name, flags, 0o644))
    except OSError as error:
        say(fatal("multilog", f"unable to run {os.fsdecode(command)}", error).text)
    else:
        pid = insist(b"unable to fork for processor in " + directory, _start, command, streams, env)
        status = insist(b"wait failed for processor in " + directory, os.waitpid, pid, 0)[1]
    finally:
        for fd in streams:
            os.close(fd)
    if os.WIFSIGNALED(status):
        pause(b"processor crashed in " + directory, errno.ENOENT)
    elif status:
        pause(b"processor failed in " + directory)
    return status == 0


def _start(command: bytes, streams: list[int], env: dict[str, str]) -> int:
    fds = {target: fd for (target, _, _), fd in zip(STREAMS, streams, strict=True)}
    return chain.spawn([SHELL[0], "-c", os.fsdecode(command)], env, {**fds, 3: -1}, SHELL[1])


def _sync(directory: bytes, name: bytes, *, mark: bool) -> None:
    path = directory + b"/" + name
    fd = insist(b"unable to create " + path, os.open, name, APPEND, 0o600)
    insist(b"unable to write %b to disk" % path, os.fsync, fd)
    if mark:
        insist(b"unable to set mode of " + path, os.fchmod, fd, SAFE)
    os.close(fd)
