"""TLS on a socket, from its handshake to its end (ucspi 6.4): what the library has to say is sent whatever made it say so."""

from __future__ import annotations

import _socket
import time
from struct import pack

from qserver.tls import hello
from qserver.tls.exchange import Exchange
from qserver.tls.library import END_OF_FILE, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.tls.library import Session

LONGEST_HELLO = 65536
FLIGHT = 16384
"""Read at a time in a handshake."""
PRECISION = 0.5
"""Seconds by which a handshake may last longer than it may."""


class Pump:
    """One connection. The handshake comes first."""

    def __init__(self, tls: Session, peer: _socket.socket) -> None:
        self.tls = tls
        self._peer = peer

    def handshake(self, seconds: float, protocols: tuple[bytes, ...] = ()) -> None:
        """Who offers only other protocols than these is refused; with none nobody is.

        Our last words go with those that follow, by `copy` or `flush`. Raises Trouble, TimeoutError; what the peer must hear
        of it has been sent.
        """
        peer, tls = self._peer, self.tls
        peer.setblocking(True)
        peer.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, _timeval(seconds))
        asked, deadline = 0.0, time.monotonic() + seconds
        heard = b"" if protocols else None
        try:
            while not self._shake(tls):
                if (now := time.monotonic()) - asked > PRECISION:
                    self._set_patience(deadline - now)
                    asked = now
                block = self._hear()
                if heard is not None:
                    heard = None if not heard and hello.asks_for_nothing(block) else self._examine(heard + block, protocols)
                tls.feed(block)
                if not block:
                    self._shake(tls)
                    raise Trouble(END_OF_FILE)
        except BlockingIOError:
            raise TimeoutError from None

    def _shake(self, tls: Session) -> bool:
        """One turn, whose words are sent unless they are the last, even where it fails. Raises Trouble."""
        done = False
        try:
            done = tls.handshake()
        finally:
            if not done:
                self._say(tls.output())
        return done

    def flush(self) -> None:
        """Nothing follows the handshake for now. (A peer that does not take its last words has no use for them.)"""
        try:
            self._say(self.tls.output())
        except BlockingIOError:
            return

    def _say(self, data: bytes) -> None:
        """To a peer that may be gone: its silence will tell. Raises BlockingIOError when it takes nothing for too long."""
        while data:
            try:
                data = data[self._peer.send(data) :]
            except BlockingIOError:
                raise
            except OSError:
                return

    def _set_patience(self, seconds: float) -> None:
        """Raises TimeoutError where there is none left."""
        if seconds <= 0:
            raise TimeoutError
        self._peer.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, _timeval(seconds))

    def _hear(self) -> bytes:
        """Raises BlockingIOError when it has waited too long."""
        try:
            return self._peer.recv(FLIGHT)
        except BlockingIOError:
            raise
        except OSError:
            return b""

    def _examine(self, heard: bytes, ours: tuple[bytes, ...]) -> bytes | None:
        """The client's first words; None when enough is known of them. Raises Trouble."""
        try:
            offered = hello.offered(heard)
        except hello.Incomplete:
            return heard if len(heard) < LONGEST_HELLO else None
        if offered and not any(name in ours for name in offered):
            self._say(hello.NO_APPLICATION_PROTOCOL)
            raise Trouble("no application protocol")
        return None

    def copy(self, reader: int, writer: int, idle: float) -> bool:
        """Copy until the program's output has ended and been sent, and nobody wants the input any more; closes both.

        Returns whether it came to that.

        `reader` and `writer` may be the same socket. With no traffic for `idle` seconds the program's input is closed, after
        as many more the connection is given up. Raises Trouble.
        """
        return Exchange(self.tls, self._peer, reader, writer).run(idle)


def _timeval(seconds: float) -> bytes:
    return pack("@qq", int(seconds), int(seconds % 1 * 1_000_000) or 1)
