"""Bytes between an encrypted socket and a program (ucspi 6.4).

The program's side is two pipes, or one socket for both directions. No direction waits for the other, a half-closed
connection goes on in the other direction, and what the library has to say is sent whatever made it say so.
"""

from __future__ import annotations

import _socket
import os
import select
import time
from struct import pack

from qserver.tls import hello
from qserver.tls.library import BLOCK, END_OF_FILE, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.tls.library import Session

MOST_WAITING = 4 * BLOCK
"""Bytes that wait for one side before no more is read from the other."""
LONGEST_HELLO = 65536
CLOSED = -1
HANGUP = select.POLLHUP | select.POLLERR | select.POLLNVAL


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
        deadline = time.monotonic() + seconds
        peer, tls = self._peer, self.tls
        peer.setblocking(True)
        peer.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, _timeval(seconds))
        heard = b"" if protocols else None
        try:
            while not self._shake(tls):
                block = self._hear(deadline)
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

    def _hear(self, deadline: float) -> bytes:
        """Raises TimeoutError, BlockingIOError when it has waited too long."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._peer.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, _timeval(left))
        try:
            return self._peer.recv(BLOCK)
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
        return _Copy(self.tls, self._peer, reader, writer).run(idle)


class _Copy:
    """The two directions at work."""

    __slots__ = (
        "_joined", "_peer", "_peer_ended", "_peer_gone", "_poll", "_reader", "_tls", "_to_peer", "_to_program", "_wanted",
        "_watched", "_words_over", "_writer",
    )  # fmt: skip

    def __init__(self, tls: Session, peer: _socket.socket, reader: int, writer: int) -> None:
        self._tls, self._peer = tls, peer
        peer.setblocking(False)
        self._reader, self._writer = reader, writer
        self._joined = reader == writer
        os.set_blocking(reader, False)
        if not self._joined:
            os.set_blocking(writer, False)
        self._poll = select.poll()
        self._wanted = (0, 0, 0, CLOSED)
        self._watched: dict[int, int] = {}
        """What the poll waits for."""
        self._to_peer = self._to_program = b""
        """Encrypted, decrypted; not yet taken."""
        self._peer_ended = False
        """Nothing more comes from the socket."""
        self._peer_gone = False
        """Nothing more goes there."""
        self._words_over = False
        """The peer has said its last word."""

    def run(self, idle: float) -> bool:
        """To the end, or until nothing has moved for too long (False). Raises Trouble."""
        try:
            return self._run(idle)
        finally:
            self._close_input()
            self._close_output()

    def _run(self, idle: float) -> bool:
        if self._tls.has_more():  # said with the handshake
            self._decrypt()
        self._encrypt()  # a greeting goes with the last words of the handshake
        self._send_output()
        quiet_since = time.monotonic()
        while not self._is_over():
            self._watch()
            if self._is_calm():
                ready = self._converse(idle * 1000)
                quiet_since = time.monotonic()
            else:
                ready = self._poll.poll(max(0.0, quiet_since + idle - time.monotonic()) * 1000)
            if ready is None:
                continue
            if not ready:
                if self._writer == CLOSED:
                    return False
                self._close_input()
                quiet_since = time.monotonic()
                continue
            for fd, events in ready:
                if self._step(fd, events):
                    quiet_since = time.monotonic()
        return True

    def _is_calm(self) -> bool:
        """Nothing waits to be taken, and both sides may go on talking."""
        waits = self._to_peer or self._to_program
        return not waits and not self._peer_ended and self._reader != CLOSED and self._writer != CLOSED

    def _converse(self, patience: float) -> list[tuple[int, int]] | None:
        """The loop for nearly all of the time, with as few questions as can be; None when it is calm no more.

        Else the events that are not for it: none when for so many milliseconds nobody has said anything.
        """
        poll, peer = self._poll.poll, self._peer.fileno()
        while True:
            ready = poll(patience)
            for _, events in ready:
                if events != select.POLLIN:
                    return ready
            if not ready:
                return ready
            for fd, _ in ready:
                if fd == peer:
                    self._receive()
                else:
                    self._encrypt()
            if not self._is_calm():
                return None

    def _is_over(self) -> bool:
        """The program hears no more, and nobody hears it. (What a peer that is gone has said is still the program's.)"""
        return self._writer == CLOSED and (self._peer_gone or (self._reader == CLOSED and not self._to_peer))

    def _watch(self) -> None:
        """Wait for what can be dealt with now."""
        on_peer = select.POLLOUT if self._to_peer else 0
        if not self._peer_ended and len(self._to_program) < MOST_WAITING:
            on_peer |= select.POLLIN
        on_reader = select.POLLIN if self._reader != CLOSED and len(self._to_peer) < MOST_WAITING else 0
        on_writer = select.POLLOUT if self._to_program else 0
        wanted = on_peer, on_reader, on_writer, self._writer
        if wanted != self._wanted:
            self._wanted = wanted
            self._register(on_peer, on_reader, on_writer)

    def _register(self, on_peer: int, on_reader: int, on_writer: int) -> None:
        wanted = {}
        if on_peer:
            wanted[self._peer.fileno()] = on_peer
        if on_reader:
            wanted[self._reader] = on_reader
        if self._writer != CLOSED and (on_writer or not self._joined):  # a pipe tells that its reader is gone
            wanted[self._writer] = wanted.get(self._writer, 0) | on_writer
        for fd in self._watched.keys() - wanted.keys():
            self._poll.unregister(fd)
        for fd, events in wanted.items():
            self._poll.register(fd, events)
        self._watched = wanted

    def _step(self, fd: int, events: int) -> bool:
        """Whether bytes have moved."""
        moved = False
        if fd == self._peer.fileno():
            if events & (select.POLLOUT | HANGUP) and self._to_peer:
                self._send()
                moved = True
            if events & (select.POLLIN | HANGUP) and not self._peer_ended:
                moved |= self._receive()
            return moved
        if fd == self._writer and events & (select.POLLOUT | HANGUP):
            moved = self._feed_program(events)
        if fd == self._reader and events & (select.POLLIN | HANGUP):
            moved |= self._encrypt()
        return moved

    def _receive(self) -> bool:
        try:
            block = self._peer.recv(BLOCK)
        except BlockingIOError:
            return False
        except OSError:
            block = b""
        self._peer_ended = not block
        self._tls.feed(block)
        self._decrypt()
        return True

    def _decrypt(self) -> None:
        """What the peer has said, as far as it is complete."""
        had = self._to_program
        words: list[bytes] = []
        try:
            self._words_over = self._read_all(words) or self._peer_ended
        except Trouble:
            self._send_output()
            if self._reader != CLOSED:
                raise
            self._words_over = True
        self._send_output()
        self._to_program = had + b"".join(words) if had else b"".join(words)
        if not had:
            self._feed_program(0)

    def _read_all(self, words: list[bytes]) -> bool:
        """Whether there was a last word. Raises Trouble."""
        tls = self._tls
        while True:
            block = tls.read()
            if not block:
                return block is not None
            words.append(block)
            if not tls.has_more():
                return False

    def _feed_program(self, events: int) -> bool:
        """The program takes what it was told, or has gone."""
        done = 0
        if self._writer == CLOSED:
            self._to_program = b""
            return False
        try:
            if self._to_program:
                done = os.write(self._writer, self._to_program)
                self._to_program = self._to_program[done:]
        except BlockingIOError:
            return False
        except OSError:
            events = select.POLLERR
        if events & HANGUP or (self._words_over and not self._to_program):
            self._close_input()
        return done > 0

    def _encrypt(self) -> bool:
        """The program's next words, or its last."""
        try:
            block = os.read(self._reader, BLOCK)
        except BlockingIOError:
            return False
        except OSError:  # a socket whose other end was closed with words unread
            block = b""
        if block:
            self._tls.write(block)
        else:
            self._close_output()
            self._tls.say_goodbye()
        self._send_output()
        if not block and not self._to_peer:
            self._hang_up()
        return bool(block)

    def _send_output(self) -> None:
        """What the library has to say."""
        if output := self._tls.output():
            waited, self._to_peer = self._to_peer, self._to_peer + output
            if not waited:
                self._send()

    def _send(self) -> None:
        try:
            self._to_peer = self._to_peer[self._peer.send(self._to_peer) :]
        except BlockingIOError:
            return
        except OSError:
            self._peer_gone, self._to_peer = True, b""
        if not self._to_peer and self._reader == CLOSED:
            self._hang_up()

    def _hang_up(self) -> None:
        try:
            self._peer.shutdown(_socket.SHUT_WR)
        except OSError:
            self._peer_gone = True

    def _close_input(self) -> None:
        """The program is told no more."""
        fd, self._writer, self._to_program = self._writer, CLOSED, b""
        if fd != CLOSED and self._joined and self._reader != CLOSED:
            _shut_writing(fd)
        else:
            self._close(fd)

    def _close_output(self) -> None:
        """The program has said its last word; one that has closed its only socket hears no more either."""
        if self._joined:
            self._writer, self._to_program = CLOSED, b""
        fd, self._reader = self._reader, CLOSED
        self._close(fd)

    def _close(self, fd: int) -> None:
        if fd == CLOSED:
            return
        if self._watched.pop(fd, None) is not None:
            self._poll.unregister(fd)
        os.close(fd)


def _shut_writing(fd: int) -> None:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
    try:
        sock.shutdown(_socket.SHUT_WR)
    except OSError:  # nobody is there
        return
    finally:
        sock.detach()


def _timeval(seconds: float) -> bytes:
    return pack("@qq", int(seconds), int(seconds % 1 * 1_000_000) or 1)
