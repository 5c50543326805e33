"""The connection a network program talks on: two descriptors, time-outs, and the door to TLS."""

from __future__ import annotations

import _socket
import errno
import os
import select
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GONE = (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)
BLOCK = 65536


class Connection:
    """Bytes from and to a peer. A program gets one from its server (or of descriptors 0 and 1) and never opens another.

    Sockets carry their time-out in the kernel (SO_RCVTIMEO/SO_SNDTIMEO), so that a read is one system call; pipes are
    polled first.
    """

    __slots__ = ("_kernel_timeout", "rfd", "timeout", "wfd")

    def __init__(self, rfd: int, wfd: int) -> None:
        self.rfd = rfd
        self.wfd = wfd
        self.timeout: float | None = None
        self._kernel_timeout = False

    @classmethod
    def from_fds(cls, rfd: int, wfd: int) -> Connection:
        """A connection on two descriptors, which may be one socket or two pipes."""
        return cls(rfd, wfd)

    @classmethod
    def from_socket(cls, fd: int) -> Connection:
        """A connection on a connected stream socket, given as its descriptor."""
        return cls(fd, fd)

    def set_timeout(self, seconds: float) -> None:
        """Bound every following read and write; each may wait that long."""
        self.timeout = seconds
        self._kernel_timeout = False
        if self.rfd != self.wfd and not _same_socket(self.rfd, self.wfd):
            return
        value = struct.pack("@qq", int(seconds), int(seconds % 1 * 1_000_000))
        try:  # with a family given, whatever it is, the kernel is not asked for family, type and protocol
            peer = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, self.rfd)
        except OSError:
            return
        try:
            peer.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, value)
            peer.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, value)
            self._kernel_timeout = os.get_blocking(self.rfd)
        except OSError:  # no socket
            return
        finally:
            peer.detach()

    def read(self, limit: int = BLOCK) -> bytes:
        """What has arrived, at most `limit` bytes, waiting for the first; b"" at the end or when the peer is gone.

        Raises TimeoutError.
        """
        if self.timeout is not None and not self._kernel_timeout:
            self._wait(self.rfd, select.POLLIN, time.monotonic() + self.timeout)
        try:
            return os.read(self.rfd, limit)
        except BlockingIOError:
            raise TimeoutError from None
        except OSError as error:
            if error.errno in GONE:
                return b""
            raise

    def write(self, data: bytes) -> None:
        """Send all of it. Raises TimeoutError when the peer takes nothing for the time-out, OSError when it is gone."""
        if self._kernel_timeout or self.timeout is None:
            rest: bytes | memoryview = data
            while rest:
                try:
                    done = os.write(self.wfd, rest)
                except BlockingIOError:
                    raise TimeoutError from None
                if done == len(rest):
                    return
                rest = memoryview(rest)[done:]
            return
        self._write_polled(data, self.timeout)

    def _write_polled(self, data: bytes, timeout: float) -> None:
        was = os.get_blocking(self.wfd)
        os.set_blocking(self.wfd, False)
        try:
            rest = memoryview(data)
            while rest:
                self._wait(self.wfd, select.POLLOUT, time.monotonic() + timeout)
                try:
                    rest = rest[os.write(self.wfd, rest) :]
                except BlockingIOError:
                    continue
        finally:
            os.set_blocking(self.wfd, was)

    @staticmethod
    def _wait(fd: int, event: int, deadline: float) -> None:
        poller = select.poll()
        poller.register(fd, event)
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError

    def starttls(self, env: Mapping[str, str]) -> dict[str, str]:
        """Ask the server beside us for TLS (UCSPI-TLS, ucspi 6.4) and go on in it.

        Plain input already read must be thrown away by the caller. Returns the server's variables; raises OSError
        (also for a server that has no TLS to offer, or a handshake that failed).
        """
        try:
            control, rfd, wfd = (int(env[name]) for name in ("SSLCTLFD", "SSLREADFD", "SSLWRITEFD"))
        except (KeyError, ValueError):
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)) from None
        if control == self.rfd:  # in TLS already
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        os.write(control, b"Y")
        variables = read_variables(control)
        if self.rfd == self.wfd:
            self.rfd, self.wfd = rfd, wfd
        else:
            os.dup2(rfd, self.rfd)
            os.dup2(wfd, self.wfd)
        if self.timeout is not None:
            self.set_timeout(self.timeout)
        return variables

    def close(self) -> None:
        """Close both descriptors."""
        os.close(self.rfd)
        if self.wfd != self.rfd:
            os.close(self.wfd)


def _same_socket(one: int, other: int) -> bool:
    """Whether two descriptors are one open socket (0 and 1 of a child of tcpserver)."""
    try:
        first, second = os.fstat(one), os.fstat(other)
    except OSError:
        return False
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino) and first.st_mode & 0o170000 == 0o140000


def read_variables(control: int) -> dict[str, str]:
    """Read `NAME=value` NUL … up to two NULs from the control socket. Raises OSError when it ends early."""
    data = b""
    while not data.endswith(b"\0\0"):
        block = os.read(control, BLOCK)
        if not block:
            raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
        data += block
    return variables_of(data)


def variables_of(data: bytes) -> dict[str, str]:
    """The variables in a block of `NAME=value` NUL …"""
    return dict(pairs_of(data))


def pairs_of(data: bytes) -> list[tuple[str, str]]:
    """The same, with names that occur more than once."""
    pairs = (item.partition(b"=") for item in data.split(b"\0") if item)
    return [(os.fsdecode(name), os.fsdecode(value)) for name, _, value in pairs]


def block_of(variables: Iterable[tuple[str, str]]) -> bytes:
    """The block that `variables_of` reads, without the NUL that ends it on a control socket."""
    return b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in variables)
