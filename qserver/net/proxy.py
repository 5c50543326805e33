"""The PROXY protocol, versions 1 and 2: what a proxy says of its client before the client's own first byte (ucspi 12).

Source: HAProxy's proxy-protocol.txt. Bytes behind the header are not touched: they are the program's.
"""

from __future__ import annotations

import _socket
import select
import struct
import time

from qserver.net.addresses import compact, parse_ipv4, parse_ipv6

PATIENCE = 5.0
"""Seconds in which the header must have come."""
LONGEST_LINE = 107
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FIRST = b"PROXY "
SECOND_HEAD = struct.Struct(">12sBBH")
VERSION, LOCAL, PROXIED = 0x20, 0, 1
STREAMS = {0x11: (4, 12), 0x21: (16, 36)}
"""Family and transport → octets of an address, of both addresses and ports."""
MAPPED = b"\0" * 10 + b"\xff\xff"


class BadHeader(Exception):
    """No header, a malformed one, one too late, or a second one."""


class Ends:
    """What a header says. Without addresses (UNKNOWN, other families) those of the connection itself count."""

    __slots__ = ("here", "is_check", "there")

    def __init__(
        self, there: tuple[str, str] | None = None, here: tuple[str, str] | None = None, *, is_check: bool = False
    ) -> None:
        self.there = there
        """(ip, port) of the client."""
        self.here = here
        """(ip, port) that the client called."""
        self.is_check = is_check
        """LOCAL: the proxy looks whether we are alive."""


def parse_line(line: bytes) -> Ends:
    """A header of version 1, with its CR LF. Raises BadHeader."""
    words = line[:-2].split(b" ")
    if line[-2:] != b"\r\n" or len(line) > LONGEST_LINE or words[0] != b"PROXY" or len(words) < 2:
        raise BadHeader
    if words[1] == b"UNKNOWN":
        return Ends()
    if words[1] not in (b"TCP4", b"TCP6") or len(words) != 6:
        raise BadHeader
    parse = parse_ipv4 if words[1] == b"TCP4" else parse_ipv6
    there, here = (_address(parse(word.decode("ascii", "replace"))) for word in words[2:4])
    return Ends((there, _port(words[4])), (here, _port(words[5])))


def _address(packed: bytes | None) -> str:
    if packed is None:
        raise BadHeader
    return compact(packed[12:] if packed[:12] == MAPPED else packed)


def _port(word: bytes) -> str:
    if not word.isdigit() or len(word) > 5 or int(word) > 65535 or (word[:1] == b"0" and len(word) > 1):
        raise BadHeader
    return word.decode("ascii")


def parse_head(head: bytes) -> tuple[int, int, int]:
    """Command, family and length of the rest, of the first 16 octets of version 2. Raises BadHeader."""
    signature, command, family, length = SECOND_HEAD.unpack(head)
    if signature != SIGNATURE or command & 0xF0 != VERSION or command & 0x0F not in (LOCAL, PROXIED):
        raise BadHeader
    return command & 0x0F, family, length


def parse_rest(command: int, family: int, rest: bytes) -> Ends:
    """What stands behind those. Raises BadHeader."""
    if command == LOCAL:
        return Ends(is_check=True)
    if family not in STREAMS:
        return Ends()
    size, needed = STREAMS[family]
    if len(rest) < needed:
        raise BadHeader
    there, here = _address(rest[:size]), _address(rest[size : 2 * size])
    ports = struct.unpack(">HH", rest[2 * size : needed])
    return Ends((there, str(ports[0])), (here, str(ports[1])))


def receive(fd: int, patience: float = PATIENCE) -> Ends:
    """Read the header from a connected socket, and nothing else. Raises BadHeader."""
    peer = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, fd)
    reader = _Reader(peer, time.monotonic() + patience)
    try:
        start = reader.exactly(len(FIRST))
        if start == FIRST:
            ends = parse_line(start + reader.line(LONGEST_LINE - len(start)))
        else:
            command, family, length = parse_head(start + reader.exactly(SECOND_HEAD.size - len(start)))
            ends = parse_rest(command, family, reader.exactly(length))
        reader.forbid_second()
        return ends
    except OSError:
        raise BadHeader from None
    finally:
        peer.detach()


class _Reader:
    """Takes no byte more than it is asked for, and waits no longer than it may."""

    def __init__(self, peer: _socket.socket, deadline: float) -> None:
        self._peer = peer
        self._deadline = deadline
        self._poller = select.poll()
        self._poller.register(peer.fileno(), select.POLLIN)

    def _wait(self) -> None:
        if not self._poller.poll(max(0.0, self._deadline - time.monotonic()) * 1000):
            raise BadHeader

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            self._wait()
            block = self._peer.recv(size - len(data), _socket.MSG_DONTWAIT)
            if not block:
                raise BadHeader
            data += block
        return data

    def line(self, most: int) -> bytes:
        """To the next LF."""
        data = b""
        while not data.endswith(b"\n"):
            self._wait()
            seen = self._peer.recv(most - len(data), _socket.MSG_PEEK | _socket.MSG_DONTWAIT) if len(data) < most else b""
            if not seen:
                raise BadHeader
            data += self.exactly(seen.find(b"\n") + 1 or len(seen))
        return data

    def forbid_second(self) -> None:
        """Raises BadHeader if what has come already goes on with another header."""
        try:
            seen = self._peer.recv(len(SIGNATURE), _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if seen.startswith(FIRST) or seen == SIGNATURE:
            raise BadHeader
