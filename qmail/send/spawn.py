"""The loop that qmail-lspawn and qmail-rspawn share (delivery 4): commands in, a child per delivery, reports out.

A child is a fork of this warm process, kept for more deliveries of the same identity where the program is our own
(crew.py). Descriptor 0 is the message, 1 and 2 are a pipe back to us; nothing else of ours stays open in it, above all not
the pipes to qmail-send. A report is sent when the delivery has ended and its pipe is at its end.
"""

from __future__ import annotations

import os
import select
import stat

from qmail.home import sibling
from qmail.send.crew import LARGEST_ERRAND, Crew, Errand, Worker, close_all_but
from qserver.base import chain, signals
from qserver.base.files import write_all
from qserver.base.getopt import scan_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

DEFAULT_LIMIT = 120
MOST = 255
LONGEST_MESSID = 100
"""With its NUL."""
READ_SIZE = 65536
LONGEST_COMMAND = 1 << 20

DELNUM_TOO_BIG = b"ZInternal error: delnum too big. (#4.3.5)\n"
DELNUM_IN_USE = b"ZInternal error: delnum in use. (#4.3.5)\n"
MESSID_NONNUMERIC = b"DInternal error: messid has nonnumerics. (#5.3.5)\n"
MESSID_TOO_LONG = b"DInternal error: messid too long. (#5.3.5)\n"
MESSID_TOO_SHORT = b"DInternal error: messid too short. (#5.3.5)\n"
NO_HOST = b"DSorry, address must include host name. (#5.1.3)\n"
NO_MESSAGE = b"Zqmail-spawn unable to open message. (#4.3.0)\n"
NO_FSTAT = b"Zqmail-spawn unable to fstat message. (#4.3.0)\n"
WRONG_TYPE = b"ZSorry, message has wrong type. (#4.3.5)\n"
WRONG_OWNER = b"ZSorry, message has wrong owner. (#4.3.5)\n"
NO_PIPE = b"Zqmail-spawn unable to create pipe. (#4.3.0)\n"
NO_FORK = b"Zqmail-spawn unable to fork. (#4.3.0)\n"
NO_MEMORY = b"Zqmail-spawn out of memory. (#4.3.0)\n"


class Order:
    """One delivery to make."""

    __slots__ = ("messid", "recipient", "sender", "slot")

    def __init__(self, slot: int, messid: bytes, sender: bytes, recipient: bytes) -> None:
        self.slot = slot
        self.messid = messid
        self.sender = sender
        self.recipient = recipient


class Agent:
    """What makes a spawner the local or the remote one."""

    __slots__ = ("env",)

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env

    def at_once(self, order: Order) -> bytes | None:
        """The report of a delivery that needs no child; None where one is needed."""
        return None

    def errand(self, order: Order) -> Errand | None:
        """The delivery as an errand for a warm child; None where it needs a child of its own."""
        return None

    def deliver(self, order: Order) -> NoReturn:
        """A child of its own: become the program that delivers. Descriptors are in place; ends the process."""
        raise NotImplementedError

    def shorten(self, output: bytes) -> bytes:
        """What is kept of a child's output so far."""
        return output

    def report(self, status: int, output: bytes) -> bytes:
        """Letter and text for a child's wait status and output."""
        raise NotImplementedError


class Refused(Exception):
    """No child can be started; `report` is letter and text."""

    def __init__(self, report: bytes) -> None:
        super().__init__(report)
        self.report = report


class _Child:
    """A delivery under way: `status` once it has ended, `fd` -1 once its output is at the end."""

    __slots__ = ("fd", "output", "slot", "status", "worker")

    def __init__(self, slot: int, fd: int, worker: Worker | None) -> None:
        self.slot = slot
        self.fd = fd
        self.worker = worker
        self.output = b""
        self.status: int | None = None


class CommandReader:
    """Bytes from qmail-send → orders."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[Order]:
        """The orders completed by `data`: delnum, then messid, sender and recipient, each ended by NUL."""
        data = self._held + data
        orders: list[Order] = []
        at = 0
        while True:
            fields = data[at + 1 :].split(b"\0", 3) if at < len(data) else []
            if len(fields) < 4:
                self._held = data[at:]
                return orders
            orders.append(Order(data[at], *fields[:3]))
            at = len(data) - len(fields[3])


def check_messid(messid: bytes) -> bytes | None:
    """The complaint about a messid, None for a good one: digits and slashes, no slash in front."""
    if messid[:1] == b"/" or messid.strip(b"0123456789/"):
        return MESSID_NONNUMERIC
    if len(messid) + 1 > LONGEST_MESSID:
        return MESSID_TOO_LONG
    return None if messid else MESSID_TOO_SHORT


def spawn_limit(conf: str) -> int:
    """conf-spawn as the byte that the spawner begins with."""
    return min(scan_number(conf, DEFAULT_LIMIT), MOST)


def preload(name: str, env: dict[str, str]) -> bool:
    """Import the program that the children will be, if it is our own; whether it is."""
    if not is_own(name, env):
        return False
    chain.load(name)
    return True


def is_own(name: str, env: dict[str, str]) -> bool:
    """Whether the program that would be found is our own command of that name."""
    try:
        return chain.own_command(chain.find(sibling(name, env), env.get("PATH"))) == name
    except OSError:
        return False


class Spawner:
    """Serves qmail-send on descriptors 0 and 1. The current directory is queue/mess, whose owner owns the messages."""

    __slots__ = ("_agent", "_by_pid", "_children", "_crew", "_limit", "_owner", "_wake")

    def __init__(self, agent: Agent, limit: int) -> None:
        """Raises OSError."""
        self._agent = agent
        self._limit = limit
        self._owner = os.stat(".").st_uid
        self._children: dict[int, _Child] = {}
        self._by_pid: dict[int, _Child] = {}
        self._wake = signals.WakeUp((signals.SIGCHLD,))
        self._crew = Crew(agent.env, self._wake.close)

    def run(self) -> int:
        """Work to the end of input and of the last delivery; returns 0."""
        _write(bytes([self._limit]))
        reader = CommandReader()
        reading = True
        while reading or self._children:
            ready = self._wait(reading)
            for child in list(self._children.values()):
                self._attend(child, ready)
            if self._wake.fileno() in ready:
                self._wake.drain()
                self._reap()
            if 0 in ready:
                data = _read(0)
                reading = bool(data)
                for order in reader.feed(data):
                    self._begin(order)
        return 0

    def _wait(self, reading: bool) -> set[int]:
        poller = select.poll()
        poller.register(self._wake.fileno(), select.POLLIN)
        if reading:
            poller.register(0, select.POLLIN)
        for child in self._children.values():
            if child.fd >= 0:
                poller.register(child.fd, select.POLLIN)
            if child.worker is not None and child.status is None:
                poller.register(child.worker.socket.fileno(), select.POLLIN)
        idle = self._crew.dismiss_idle()
        return {fd for fd, _ in poller.poll(None if idle is None else idle * 1000 + 1)}

    def _attend(self, child: _Child, ready: set[int]) -> None:
        """The answer and the output of a delivery, so far as they have come."""
        worker = child.worker
        if worker is not None and child.status is None and worker.socket.fileno() in ready:
            self._take_answer(child, worker)
        if child.fd in ready:
            self._collect(child)

    def _take_answer(self, child: _Child, worker: Worker) -> None:
        """A warm child is done with its errand; without an answer it is dying, and SIGCHLD will tell of what."""
        code = worker.answer()
        if code is None:
            return
        child.status = code << 8
        del self._by_pid[worker.pid]
        self._crew.rest(worker)
        self._finish(child)

    def _begin(self, order: Order) -> None:
        try:
            report = self._start(order)
        except Refused as refusal:
            report = refusal.report
        except MemoryError:
            report = NO_MEMORY
        if report is not None:
            _write(b"%c%b\0" % (order.slot, report))

    def _start(self, order: Order) -> bytes | None:
        """Start a child; returns a report where none is needed. Raises Refused."""
        if order.slot >= self._limit:
            raise Refused(DELNUM_TOO_BIG)
        if order.slot in self._children:
            raise Refused(DELNUM_IN_USE)
        complaint = check_messid(order.messid)
        if complaint is not None:
            raise Refused(complaint)
        if b"@" not in order.recipient:
            raise Refused(NO_HOST)
        message = self._open_message(order.messid)
        try:
            report = self._agent.at_once(order)
            if report is None:
                self._send_out(order, message)
            return report
        finally:
            os.close(message)

    def _open_message(self, messid: bytes) -> int:
        try:
            fd = os.open(messid, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            raise Refused(NO_MESSAGE) from None
        try:
            info = os.fstat(fd)
        except OSError:
            os.close(fd)
            raise Refused(NO_FSTAT) from None
        if not stat.S_ISREG(info.st_mode) or info.st_uid != self._owner:
            os.close(fd)
            raise Refused(WRONG_OWNER if stat.S_ISREG(info.st_mode) else WRONG_TYPE)
        return fd

    def _send_out(self, order: Order, message: int) -> None:
        """Give the delivery to a warm child, or to one of its own. Raises Refused."""
        errand = self._agent.errand(order)
        try:
            back, out = os.pipe2(os.O_CLOEXEC)
        except OSError:
            raise Refused(NO_PIPE) from None
        try:
            worker = None if errand is None else self._hand_over(errand, message, out)
            pid = self._fork(order, message, out) if worker is None else worker.pid
        except OSError:
            os.close(back)
            raise Refused(NO_FORK) from None
        finally:
            os.close(out)
        self._children[order.slot] = self._by_pid[pid] = _Child(order.slot, back, worker)

    def _hand_over(self, errand: Errand, message: int, out: int) -> Worker | None:
        """The warm child that took the errand; None if it is too long for one. Raises OSError when none can be made."""
        data = errand.pack()
        if len(data) > LARGEST_ERRAND:
            return None
        while (worker := self._crew.take(errand.identity)) is not None:
            if worker.send(data, message, out):
                return worker
            worker.socket.close()
        worker = self._crew.hire(errand.identity)
        if worker.send(data, message, out):
            return worker
        worker.socket.close()
        return None

    def _fork(self, order: Order, message: int, out: int) -> int:
        """A child of its own; returns its pid. Raises OSError."""
        pid = os.fork()
        if pid == 0:
            self._become_child(order, message, out)
        return pid

    def _become_child(self, order: Order, message: int, out: int) -> NoReturn:
        """In the child: 0 message, 1 and 2 the pipe, everything else closed; then the agent's program."""
        try:
            self._wake.close()
            os.dup2(message, 0)
            os.dup2(out, 1)
            os.dup2(out, 2)
            close_all_but()
            self._agent.deliver(order)
        finally:
            os._exit(111)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._by_pid.pop(pid, None)
            if child is None:
                self._crew.died(pid)
                continue
            if child.worker is not None:
                code = child.worker.answer()
                status = status if code is None else code << 8
                child.worker.socket.close()
            child.status = status
            self._finish(child)

    def _collect(self, child: _Child) -> None:
        data = _read(child.fd)
        if data:
            child.output = self._agent.shorten(child.output + data)
            return
        os.close(child.fd)
        child.fd = -1
        self._finish(child)

    def _finish(self, child: _Child) -> None:
        """Report, once the child is dead and its output complete."""
        if child.status is None or child.fd >= 0:
            return
        del self._children[child.slot]
        report = self._agent.report(child.status, child.output)
        _write(b"%c%b\0" % (child.slot, report.replace(b"\0", b"")))


def _read(fd: int) -> bytes:
    """What is there; b"" at the end, or when it cannot be read."""
    try:
        return os.read(fd, READ_SIZE)
    except OSError:
        return b""


def _write(data: bytes) -> None:
    """To qmail-send; when that is gone nobody wants to know any more."""
    try:
        write_all(1, data)
    except OSError:
        return
