"""Bytes between an encrypted socket and a program's two descriptors (ucspi 6.4).

The TLS library works in memory (SSLObject, MemoryBIO): so its output is sent whatever made it (an alert, a KeyUpdate), a
half-closed connection goes on in the other direction, and no direction waits for the other.
"""

from __future__ import annotations

import os
import select
import ssl
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

BLOCK = 65536
MOST_WAITING = 4 * BLOCK
"""Bytes that wait for one side before no more is read from the other."""
HANGUP = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Trouble(Exception):
    """The library's reason why it does not go on."""


class Pump:
    """One connection. `peer` is the connected socket, which becomes non-blocking; the handshake comes first."""

    def __init__(self, context: ssl.SSLContext, peer: _socket.socket, *, server: bool, name: str | None = None) -> None:
        self._peer = peer
        peer.setblocking(False)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server, server_hostname=name)
        self._to_peer = b""
        """Encrypted, not yet sent."""
        self._peer_ended = False
        """Nothing more comes from the socket."""
        self._peer_gone = False
        """Nothing more goes there."""

    def handshake(self, seconds: float) -> None:
        """Raises Trouble, TimeoutError, ssl.SSLCertVerificationError; what the peer must hear of it has been sent."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(deadline)
                self._await_input(deadline)
                continue
            except ssl.SSLCertVerificationError:
                self._flush(deadline)
                raise
            except (ssl.SSLError, OSError) as error:
                self._flush(deadline)
                raise Trouble(reason(error)) from error
            self._flush(deadline)
            return

    def _flush(self, deadline: float) -> None:
        """Send what the library has to say; a peer that is gone is not told."""
        self._take_output()
        while self._to_peer and not self._peer_gone:
            self._send()
            if self._to_peer:
                self._wait(select.POLLOUT, deadline)

    def _await_input(self, deadline: float) -> None:
        if self._peer_ended:
            raise Trouble("unexpected eof while reading")
        self._wait(select.POLLIN, deadline)
        self._receive()

    def _wait(self, event: int, deadline: float) -> None:
        poller = select.poll()
        poller.register(self._peer.fileno(), event)
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError

    def _take_output(self) -> None:
        if self._outgoing.pending:
            self._to_peer += self._outgoing.read()

    def _send(self) -> None:
        try:
            self._to_peer = self._to_peer[self._peer.send(self._to_peer) :]
        except BlockingIOError:
            return
        except OSError:
            self._peer_gone, self._to_peer = True, b""

    def _receive(self) -> int:
        """Take what the socket has; how many bytes that was."""
        try:
            block = self._peer.recv(BLOCK)
        except BlockingIOError:
            return 0
        except OSError:
            block = b""
        if block:
            self._incoming.write(block)
        else:
            self._peer_ended = True
            self._incoming.write_eof()
        return len(block)

    def copy(self, from_program: int, to_program: int, idle: float) -> None:
        """Copy until the program's output has ended and been sent, and nobody wants the input any more; closes both.

        With no traffic for `idle` seconds the program's input is closed, after as many more the connection is given up.
        Raises Trouble.
        """
        _Copy(self, from_program, to_program, idle).run()


class _Copy:
    """The two directions at work."""

    def __init__(self, pump: Pump, from_program: int, to_program: int, idle: float) -> None:
        self._pump = pump
        self._from, self._to = from_program, to_program
        for fd in (from_program, to_program):
            os.set_blocking(fd, False)
        self._idle = idle
        self._waiting = b""
        """Decrypted, not yet taken by the program."""
        self._input_over = False
        """The peer has said its last word."""

    def run(self) -> None:
        """To the end. Raises Trouble."""
        try:
            self._run()
        finally:
            self._close_input()
            if self._from >= 0:
                os.close(self._from)
                self._from = -1

    def _run(self) -> None:
        self._pump._take_output()
        self._decrypt()  # what came with the handshake
        quiet_since = time.monotonic()
        while not self._is_over():
            ready = self._poller().poll(max(0.0, quiet_since + self._idle - time.monotonic()) * 1000)
            if not ready:
                if self._to < 0:
                    break
                self._close_input()
                quiet_since = time.monotonic()
                continue
            for fd, events in ready:
                if self._step(fd, events):
                    quiet_since = time.monotonic()

    def _is_over(self) -> bool:
        pump = self._pump
        if pump._peer_gone and self._to < 0:
            return True
        return self._from < 0 and not pump._to_peer and (self._to < 0 or pump._peer_gone)

    def _poller(self) -> select.poll:
        pump, poller = self._pump, select.poll()
        on_peer = select.POLLOUT if pump._to_peer else 0
        if not pump._peer_ended and len(self._waiting) < MOST_WAITING:
            on_peer |= select.POLLIN
        if on_peer:
            poller.register(pump._peer.fileno(), on_peer)
        if self._from >= 0 and len(pump._to_peer) < MOST_WAITING:
            poller.register(self._from, select.POLLIN)
        if self._to >= 0:
            poller.register(self._to, select.POLLOUT if self._waiting else 0)
        return poller

    def _step(self, fd: int, events: int) -> bool:
        """Whether bytes have moved."""
        pump = self._pump
        if fd == self._from:
            return self._encrypt()
        if fd == self._to:
            return self._feed(events)
        moved = False
        if events & (select.POLLOUT | HANGUP) and pump._to_peer:
            pump._send()
            moved = True
        if events & (select.POLLIN | HANGUP) and not pump._peer_ended:
            moved |= pump._receive() > 0
            self._decrypt()
        return moved

    def _encrypt(self) -> bool:
        """The program's next words, or its last."""
        pump = self._pump
        try:
            block = os.read(self._from, BLOCK)
        except BlockingIOError:
            return False
        if block:
            try:
                pump.tls.write(block)
            except ssl.SSLError as error:
                raise Trouble(reason(error)) from error
        else:
            os.close(self._from)
            self._from = -1
            try:
                pump.tls.unwrap()
            except (ssl.SSLError, OSError):
                pass  # its answer may come, or not
        pump._take_output()
        pump._send()
        if not block and not pump._to_peer:
            self._say_goodbye()
        return bool(block)

    def _say_goodbye(self) -> None:
        import _socket

        try:
            self._pump._peer.shutdown(_socket.SHUT_WR)
        except OSError:
            self._pump._peer_gone = True

    def _decrypt(self) -> None:
        """What the peer has said, as far as it is complete."""
        pump = self._pump
        try:
            while block := pump.tls.read(BLOCK):
                self._waiting += block
            self._input_over = True
        except ssl.SSLWantReadError:
            self._input_over = pump._peer_ended
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._input_over = True
        except ssl.SSLError as error:
            pump._take_output()
            pump._send()
            if self._from >= 0:
                raise Trouble(reason(error)) from error
            self._input_over = True
        pump._take_output()
        if self._input_over and not self._waiting:
            self._close_input()

    def _feed(self, events: int) -> bool:
        """The program takes what it was told, or has gone."""
        try:
            done = os.write(self._to, self._waiting) if self._waiting else 0
        except BlockingIOError:
            return False
        except OSError:
            done = len(self._waiting)
            events = select.POLLERR
        self._waiting = self._waiting[done:]
        if events & HANGUP or (self._input_over and not self._waiting):
            self._close_input()
        return done > 0

    def _close_input(self) -> None:
        if self._to >= 0:
            os.close(self._to)
            self._to, self._waiting = -1, b""


def reason(error: OSError) -> str:
    """The library's words."""
    if isinstance(error, ssl.SSLEOFError):
        return "unexpected eof while reading"
    found = getattr(error, "reason", None)
    return str(found).lower().replace("_", " ") if found else str(error.strerror or error).lower()
