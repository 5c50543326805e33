"""How our programs hand a message to the queue: qmail_open, put, from, to, close as objects (delivery 0.3).

Where the process may write the queue it does so itself, in-process. Where it may not, message and envelope go through two
pipes to the service, qmail-queued. A QMAILQUEUE that is not our own qmail-queue is started and gets what it always got.
"""

from __future__ import annotations

import _socket
import os
import time

from qmail.home import sibling
from qmail.queue import codes, handover
from qmail.queue.codes import QueueError, result_text
from qmail.queue.scanner import scan
from qmail.queue.site import Site, service_socket, site_of, trouble_of
from qmail.queue.writer import Writer
from qserver.base import chain, signals
from qserver.base.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["QueueClient", "open_queue", "result_text"]

BLOCK = 1 << 17


class QueueClient:
    """One message. No method but `close` tells of trouble, as in qmail's library: what failed shows in the exit code."""

    __slots__ = ("_failed", "qp")

    def __init__(self) -> None:
        self.qp = os.getpid()
        self._failed = False

    def put(self, data: bytes) -> None:
        """Add bytes to the message."""
        raise NotImplementedError

    def fail(self) -> None:
        """The client noticed an error: nothing more is taken and nothing will be queued."""
        self._failed = True

    def envelope(self, sender: bytes, recipients: Iterable[bytes], skip_scanner: bool = False) -> None:
        """The message is complete; hand over the envelope. Once per message, unless it failed.

        An address ends at its first NUL, as C's do: nothing in it can pass for a record.
        """
        raise NotImplementedError

    def close(self) -> int:
        """qmail-queue's exit code, below 0 if it had none; 54 for a message that failed or got no envelope."""
        raise NotImplementedError


def open_queue(home: str, env: Mapping[str, str]) -> QueueClient:
    """A client for one message to the queue of `home`, or to what $QMAILQUEUE names. Raises OSError (pipe, fork)."""
    program = env.get("QMAILQUEUE")
    if program == "/dev/null":
        return NullQueue()
    if program and not _is_our_own(program, home):
        return ProgramQueue(program, home, env)
    try:
        site = site_of(home)
        if site.may_write():
            return DirectQueue(site, env)
    except OSError:
        trouble = trouble_of(home)
        if trouble is not None:
            return BrokenQueue(trouble)
    return LateQueue(home, env)


def _not_ours(home: str, env: Mapping[str, str]) -> QueueClient:
    """The way to a queue that this process may not write. Raises OSError."""
    try:
        service = handover.connect(service_socket(home))
    except OSError:
        return _command(home, env) if os.geteuid() == 0 else BrokenQueue(codes.NO_QUEUE)
    return ServiceQueue(service, env)


def _command(home: str, env: Mapping[str, str]) -> ProgramQueue:
    """For root without a service: qmail-queue itself drops to the queue's owner; a process that goes on cannot."""
    there = {**env, "QMAILHOME": os.path.abspath(home)}
    program = chain.find(sibling("qmail-queue", there), env.get("PATH"))
    return ProgramQueue(os.path.abspath(program), home, there)


def _records(sender: bytes, recipients: Iterable[bytes]) -> bytes:
    """`F`sender NUL (`T`recipient NUL)*."""
    addresses = [recipient.partition(b"\0")[0] for recipient in recipients]
    return b"F%b\0%b" % (sender.partition(b"\0")[0], b"".join([b"T%b\0" % address for address in addresses]))


def _is_our_own(program: str, home: str) -> bool:
    path = program if program.startswith("/") else f"{home}/{program}"
    return chain.own_command(path) == "qmail-queue"


class NullQueue(QueueClient):
    """QMAILQUEUE=/dev/null: accepts and forgets."""

    __slots__ = ("_complete",)

    def __init__(self) -> None:
        super().__init__()
        self._complete = False

    def put(self, data: bytes) -> None:
        """Forget it."""

    def envelope(self, sender: bytes, recipients: Iterable[bytes], skip_scanner: bool = False) -> None:
        """Remember that there was one."""
        self._complete = not self._failed

    def close(self) -> int:
        """0 for a complete message."""
        return codes.OK if self._complete and not self._failed else codes.READ_ERROR


class BrokenQueue(NullQueue):
    """There is no queue: every message gets the same exit code."""

    __slots__ = ("_code",)

    def __init__(self, code: int) -> None:
        super().__init__()
        self._code = code

    def close(self) -> int:
        """The code."""
        return self._code


class DirectQueue(QueueClient):
    """Writes the queue in this process; the exit codes are those the command would end with."""

    __slots__ = ("_code", "_env", "_site", "_writer")

    def __init__(self, site: Site, env: Mapping[str, str]) -> None:
        super().__init__()
        signals.ignore(signals.SIGXFSZ)
        self._site = site
        self._env = env
        self._code: int | None = None
        self._writer = Writer(site.queue, site.split, self.qp)
        self._writer.put(site.received(self.qp, os.getuid(), time.time()))

    def put(self, data: bytes) -> None:
        """Add bytes; after the first trouble they are thrown away."""
        if self._code is None and not self._failed:
            try:
                self._writer.put(data)
            except QueueError as error:
                self._code = error.code

    def envelope(self, sender: bytes, recipients: Iterable[bytes], skip_scanner: bool = False) -> None:
        """Everything from the end of the message to the link into todo."""
        if self._code is None and not self._failed:
            try:
                self._commit(_records(sender, recipients), skip_scanner)
            except QueueError as error:
                self._code = error.code

    def _commit(self, records: bytes, skip_scanner: bool) -> None:
        writer = self._writer
        writer.finish_message()
        if any(len(record) > codes.LONGEST_ADDRESS + 1 for record in records.split(b"\0")):
            writer.abandon()
            raise QueueError(codes.ADDRESS_TOO_LONG)
        writer.put_envelope(b"u%d\0p%d\0%b" % (os.getuid(), self.qp, records))
        found = codes.OK if skip_scanner else scan(self._env, self._site.queue, writer.message_path())
        if found:
            writer.abandon()
            raise QueueError(found)
        writer.commit()
        self._code = codes.OK

    def close(self) -> int:
        """The code; a message that failed or got no envelope is removed."""
        if self._code is None:
            self._writer.abandon()
            return codes.READ_ERROR
        return codes.READ_ERROR if self._failed and self._code == codes.OK else self._code


class LateQueue(QueueClient):
    """For a queue that is not ours: keeps a small message until its envelope comes.

    So a sender who takes his time holds no worker of the service, and one who breaks off never bothers it.
    """

    __slots__ = ("_env", "_held", "_home", "_queue", "_size")

    def __init__(self, home: str, env: Mapping[str, str]) -> None:
        super().__init__()
        self._home = home
        self._env = env
        self._held: list[bytes] = []
        self._size = 0
        self._queue: QueueClient | None = None

    def put(self, data: bytes) -> None:
        """Add bytes; those of a large message are passed on."""
        if self._failed:
            return
        if self._queue is not None:
            self._queue.put(data)
            return
        self._held.append(data)
        self._size += len(data)
        if self._size >= BLOCK:
            self._open()

    def _open(self) -> QueueClient:
        try:
            self._queue = _not_ours(self._home, self._env)
        except OSError:
            self._queue = BrokenQueue(codes.NOT_RUN)
        self.qp = self._queue.qp
        self._queue.put(b"".join(self._held))
        self._held = []
        return self._queue

    def fail(self) -> None:
        """Throw away what is held."""
        super().fail()
        self._held = []
        if self._queue is not None:
            self._queue.fail()

    def envelope(self, sender: bytes, recipients: Iterable[bytes], skip_scanner: bool = False) -> None:
        """Pass on what is held, then the envelope."""
        if not self._failed:
            (self._queue or self._open()).envelope(sender, recipients, skip_scanner)

    def close(self) -> int:
        """The answer of whoever got the message; 54 when nobody did."""
        return codes.READ_ERROR if self._queue is None else self._queue.close()


class PipeQueue(QueueClient):
    """A message and an envelope through two pipes to somebody who answers with an exit code."""

    __slots__ = ("_envelope", "_message")

    def __init__(self) -> None:
        super().__init__()
        signals.ignore(signals.SIGPIPE)
        self._message = self._envelope = -1

    def _open(self) -> tuple[int, int]:
        """Make both pipes; returns the reading ends. Raises OSError."""
        message, self._message = os.pipe2(os.O_CLOEXEC)
        try:
            envelope, self._envelope = os.pipe2(os.O_CLOEXEC)
        except OSError:
            os.close(message)
            os.close(self._message)
            raise
        return message, envelope

    def put(self, data: bytes) -> None:
        """Add bytes to the message."""
        self._write(self._message, data)

    def _write(self, fd: int, data: bytes) -> None:
        if not self._failed:
            try:
                write_all(fd, data)
            except OSError:
                self._failed = True

    def envelope(self, sender: bytes, recipients: Iterable[bytes], skip_scanner: bool = False) -> None:
        """Close the message, write the envelope up to its final NUL."""
        if self._failed:
            return
        self._close_message()
        self._write(self._envelope, _records(sender, recipients) + (b"Q" if skip_scanner else b"") + b"\0")

    def _close_message(self) -> None:
        if self._message >= 0:
            os.close(self._message)
            self._message = -1

    def close(self) -> int:
        """Close what is open and wait for the answer; success after an error of ours counts as 54."""
        self._close_message()
        os.close(self._envelope)
        code = self._answer()
        return codes.READ_ERROR if code == codes.OK and self._failed else code

    def _answer(self) -> int:
        raise NotImplementedError


class ProgramQueue(PipeQueue):
    """A foreign QMAILQUEUE: fd 0 message, fd 1 envelope, cwd the home, not through a shell."""

    __slots__ = ()

    def __init__(self, program: str, home: str, env: Mapping[str, str]) -> None:
        super().__init__()
        path = program if program.startswith("/") else f"{home}/{program}"
        message, envelope = self._open()
        try:
            self.qp = _spawn_at(home, path, env, {0: message, 1: envelope})
        except OSError:
            self.qp = 0
        finally:
            os.close(message)
            os.close(envelope)

    def _answer(self) -> int:
        if not self.qp:
            return codes.NOT_RUN
        try:
            status = os.waitpid(self.qp, 0)[1]
        except ChildProcessError:
            return codes.LOST
        return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else codes.CRASHED


def _spawn_at(home: str, path: str, env: Mapping[str, str], fds: dict[int, int]) -> int:
    """posix_spawn knows no working directory, so this process visits the home for the instant of the call."""
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(home)
        return chain.spawn([path], dict(env), fds)
    finally:
        os.fchdir(before)
        os.close(before)


class ServiceQueue(PipeQueue):
    """qmail-queued writes for us; it learns who we are from the kernel."""

    __slots__ = ("_socket",)

    def __init__(self, service: _socket.socket, env: Mapping[str, str]) -> None:
        super().__init__()
        self._socket = service
        message, envelope = self._open()
        try:
            handover.send(service, message, envelope, env)
        except OSError:
            self._failed = True
        finally:
            os.close(message)
            os.close(envelope)

    def _answer(self) -> int:
        try:
            return handover.answer(self._socket)
        finally:
            self._socket.close()
