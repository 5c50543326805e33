"""Bytes between an encrypted socket and a program, in both directions at once (ucspi 6.4).

The program's side is two pipes, or one socket for both directions. No direction waits for the other, and a half-closed
connection goes on in the other direction.
"""

from __future__ import annotations

import _socket
import os
import select
import time

from qserver.tls.library import BLOCK, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.tls.library import Session

MOST_WAITING = 4 * BLOCK
"""Bytes that wait for one side before no more is read from the other."""
CLOSED = -1
HANGUP = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Exchange:
    """The two directions at work."""

    __slots__ = (
        "_joined", "_peer", "_peer_ended", "_peer_gone", "_poll", "_reader", "_room", "_tls", "_to_peer", "_to_program",
        "_wanted", "_watched", "_words_over", "_writer",
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
        self._room = tls.room
        self._to_peer = b""
        self._to_program: bytes | memoryview = b""
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
            moved |= self._encrypt(ended=bool(events & select.POLLHUP))
        return moved

    def _receive(self) -> bool:
        room = self._room
        try:
            size = self._peer.recv_into(room)
        except BlockingIOError:
            return False
        except OSError:
            size = 0
        self._peer_ended = not size
        self._tls.feed(room[:size])
        self._decrypt()
        return True

    def _decrypt(self) -> None:
        """What the peer has said, as far as it is complete, goes to the program."""
        tls, room, filled = self._tls, self._room, 0
        try:
            while size := tls.read(room[filled:]):
                filled += size
                if not tls.has_more():
                    size = None
                    break
                if filled == len(room):
                    self._pass_on(room)
                    filled = 0
            self._words_over = size == 0 or self._peer_ended
        except Trouble:
            self._send_output()
            self._pass_on(room[:filled])  # what was said before it
            if self._reader != CLOSED:
                raise
            self._words_over, filled = True, 0
        self._send_output()
        self._pass_on(room[:filled])

    def _pass_on(self, words: memoryview) -> None:
        """What the program does not take at once waits."""
        if self._to_program:
            self._to_program = b"".join((self._to_program, words))
            return
        self._to_program = words
        self._feed_program(0)
        self._to_program = bytes(self._to_program)

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

    def _encrypt(self, *, ended: bool = False) -> bool:
        """The program's next words, or its last; `ended`: there will be no more than there are."""
        moved = False
        while True:
            try:
                block = os.read(self._reader, BLOCK)
            except BlockingIOError:
                break
            except OSError:  # a socket whose other end was closed with words unread
                block = b""
            if not block:
                self._end_output()
                return moved
            self._tls.write(block)
            moved = True
            if not ended:
                break
        self._send_output()
        return moved

    def _end_output(self) -> None:
        """The program has said its last word."""
        self._close_output()
        self._tls.say_goodbye()
        self._send_output()
        if not self._to_peer:
            self._hang_up()

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
            shut_writing(fd)
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


def shut_writing(fd: int) -> None:
    """Whoever is at the other end of a local socket hears no more."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
    try:
        sock.shutdown(_socket.SHUT_WR)
    except OSError:  # nobody is there
        return
    finally:
        sock.detach()
