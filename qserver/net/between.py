"""A process that stands between a program and the descriptors it would have had: fixcrio and recordio (ucspi 11).

The process that was started becomes the program, so that its pid and its exit status are those of the command; a child
copies. It never waits for one direction while the other could go on.
"""

from __future__ import annotations

import _socket
import os
import select

from qserver.base import signals
from qserver.base.errors import fatal
from qserver.net.programs import become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    Convert = Callable[[bytes], bytes]
    """What is passed on of a block; b"" is the end of the stream, and what is made of it the last to be passed on."""

PIECE = 4096
"""Bytes that a pipe takes without blocking when it is writable."""


class Way:
    """One direction: from a descriptor to a descriptor, `size` bytes a read."""

    __slots__ = ("_convert", "_is_socket", "_size", "ended", "source", "target", "waiting")

    def __init__(self, source: int, target: int, convert: Convert, size: int) -> None:
        self.source = source
        self.target = target
        self._convert = convert
        self._size = size
        self._is_socket = os.fstat(target).st_mode & 0o170000 == 0o140000
        self.waiting = b""
        """Read, and not yet passed on."""
        self.ended = False
        """Nothing more comes."""

    def read(self) -> None:
        """The next bytes."""
        try:
            block = os.read(self.source, self._size)
        except OSError:
            block = b""
        self.ended = not block
        self.waiting = self._convert(block)

    def write(self) -> bool:
        """Pass on what goes without waiting; False where nobody wants it any more."""
        try:
            self.waiting = self.waiting[self._write_some() :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _write_some(self) -> int:
        if not self._is_socket:
            return os.write(self.target, self.waiting[:PIECE])
        peer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, self.target)
        try:
            return peer.send(self.waiting, _socket.MSG_DONTWAIT)
        finally:
            peer.detach()


def run(prog: str, argv: list[str], env: dict[str, str], to_program: Convert, from_program: Convert, size: int) -> NoReturn:
    """Become the program argv, with a child of ours at its descriptors 0 and 1. Raises Die."""
    try:
        into, out = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
    except OSError as error:
        raise fatal(prog, "(111) unable to fork", error, unknown=None) from error
    if pid == 0:
        _copy((Way(0, into[1], to_program, size), Way(out[0], 1, from_program, size)), (into[0], out[1]))
    os.dup2(into[0], 0)
    os.dup2(out[1], 1)
    for fd in (*into, *out):
        os.close(fd)
    become(prog, argv, env)


def _copy(ways: tuple[Way, Way], of_program: tuple[int, int]) -> NoReturn:
    """In the child: until the program's output has ended, or nobody reads it."""
    try:
        signals.ignore(signals.SIGPIPE)
        for fd in of_program:
            os.close(fd)
        _pump(*ways)
    finally:
        os._exit(0)


def _pump(inwards: Way, outwards: Way) -> None:
    inwards_open = True
    while True:
        poller = select.poll()
        for way in (inwards, outwards) if inwards_open else (outwards,):
            poller.register(way.target if way.waiting else way.source, select.POLLOUT if way.waiting else select.POLLIN)
        ready = {fd for fd, _ in poller.poll()}
        if inwards_open and not _step(inwards, ready):
            os.close(inwards.target)
            inwards_open = False
        if not _step(outwards, ready):
            return


def _step(way: Way, ready: set[int]) -> bool:
    """Go on in one direction if it can; False when it has come to its end."""
    if way.waiting:
        if way.target in ready and not way.write():
            return False
    elif way.source in ready:
        way.read()
    return bool(way.waiting) or not way.ended
