"""A worker of sslserver: as one of tcpserver that serves one session at a time, with a relay beside it (ucspi 6.2)."""

from __future__ import annotations

import _socket
import errno
import os
import select

from qserver.base import chain, signals
from qserver.base.errors import Die
from qserver.base.privileges import become
from qserver.net import environ
from qserver.net.connection import Connection, read_variables, variables_of
from qserver.net.programs import Called
from qserver.net.reception import DENIED, TROUBLE, Dropped
from qserver.net.worker import Server
from qserver.tls.relay import (
    NEVER_ASKED,
    NO_CREDENTIALS,
    NO_TLS,
    START,
    START_AND_LEAVE_TELLING,
    Order,
    Relay,
    close_all,
    read_told,
    send,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.net.bindings import Listener
    from qserver.net.programs import Program
    from qserver.net.reception import Decision
    from qserver.net.site import Site
    from qserver.net.visitor import Visitor
    from qserver.tls.kit import Kit
    from qserver.tls.log import TlsLog
    from qserver.tls.options import TlsOptions

FIRST_FREE = 10
"""The program's three descriptors for TLS have numbers from here on."""


class Ends:
    """The descriptors of a session as UCSPI-TLS has it: the program's ends of two pipes and of the control socket."""

    __slots__ = ("control", "for_relay", "reader", "writer")

    def __init__(self, client: int) -> None:
        """Raises OSError."""
        self.reader, to_program = os.pipe2(os.O_CLOEXEC)
        from_program, self.writer = os.pipe2(os.O_CLOEXEC)
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self.control = ours.detach()
        self.for_relay = [client, to_program, from_program, theirs.detach()]

    def hand_over(self, channel: _socket.socket, order: Order) -> None:
        """The relay gets its four; ours of them, but for the client's socket, are closed. Raises OSError."""
        try:
            send(channel, order, self.for_relay)
        finally:
            close_all(tuple(self.for_relay[1:]))
            self.for_relay = []

    def close(self) -> None:
        """The program is done with it."""
        for fd in (self.reader, self.writer, self.control, *self.for_relay[1:]):
            try:
                os.close(fd)
            except OSError:  # the program did
                continue
        self.for_relay = []


class RelayProcess:
    """A relay from its fork to its end."""

    __slots__ = ("_channel", "_kit", "_site")

    def __init__(self, site: Site, kit: Kit, channel: _socket.socket) -> None:
        self._site = site
        self._kit = kit
        self._channel = channel

    def run(self) -> int:
        """Until the worker is gone; the exit code."""
        site, kit = self._site, self._kit
        log: TlsLog = site.log  # type: ignore[assignment]
        try:
            for listener in site.listeners:
                listener.sock.close()
            signals.ignore(signals.SIGPIPE)
            kit.cage.enter(log.name)
            Relay(self._channel, kit, site.options, log, site.titles).run()  # type: ignore[arg-type]
        except Die as death:
            log.complain("error", f"({TROUBLE}) {death.text.partition(') ')[2]}")
            return TROUBLE
        return 0


class Secured(Server):
    """Serves sessions one at a time; TLS is the relay's, at the other end of `channel`."""

    __slots__ = ("_channel", "_tls")

    def __init__(self, site: Site, cell: int, program: Program, channel: _socket.socket) -> None:
        super().__init__(site, cell, program)  # type: ignore[arg-type]
        self._channel = channel
        self._tls: TlsOptions = site.options  # type: ignore[assignment]

    def run(self) -> int:
        """As above, as the user whom -u names."""
        options = self._tls
        if options.gid:
            become(os.getuid(), options.gid, [options.gid])
        if options.uid:
            become(options.uid, os.getgid(), os.getgroups())
        return super().run()

    def prepare(self) -> None:
        """As above."""
        super().prepare()
        for fd in (self._channel.fileno(), self._site.era):
            self._poll.register(fd, select.EPOLLIN)

    def _lost(self, fd: int) -> None:
        """The relay is gone, or the worker is to be replaced by another, or the master is gone. Raises Shut."""
        if fd == self._channel.fileno():
            self._code = TROUBLE
        super()._lost(fd)

    def _session(self, visitor: Visitor, listener: Listener, trouble: Dropped | None, told: bool) -> tuple[int, int]:
        """Reception and program; pid and wait status."""
        try:
            if trouble is not None:
                raise trouble
            decision = self._reception.examine(visitor, listener, self._sessions_before(visitor))
        except Dropped as dropped:
            if told:
                self._log.pid(self.pid, visitor.ip)
            self._log.complain(dropped.kind, str(dropped))
            return self.pid, dropped.code << 8
        if not decision.allowed:
            self._tell(visitor, decision, self.pid, told)
            return self.pid, DENIED << 8
        try:
            return self._serve_allowed(visitor, decision, told)
        except OSError as error:  # the relay is gone, or there are no descriptors
            self._is_broken(error)
            return self.pid, TROUBLE << 8

    def _tell(self, visitor: Visitor, decision: Decision, pid: int, told: bool) -> None:
        if told:
            self._log.pid(pid, visitor.ip)
            self._log.verdict("ok" if decision.allowed else "deny", pid, visitor, decision.note)

    def _serve_allowed(self, visitor: Visitor, decision: Decision, told: bool) -> tuple[int, int]:
        """pid and wait status. Raises OSError."""
        program = self._program
        if isinstance(program, Called):
            self._tell(visitor, decision, self.pid, told)
            if not self._tls.delayed:
                return self.pid, self._call_at_once(visitor, decision) << 8
        ends = Ends(visitor.fd)
        try:
            if isinstance(program, Called):
                return self.pid, self._call_delayed(visitor, decision, ends) << 8
            return self._start_program(ends, visitor, decision, told)
        finally:
            ends.close()

    def _environment(self, visitor: Visitor, decision: Decision, fds: tuple[int, int, int]) -> dict[str, str]:
        """The program's, but for what the handshake tells; `fds` are its descriptors for TLS (ucspi 6.6)."""
        tcp = self._tls.tcp_variables
        env = environ.with_tls(self._start, visitor, tcp=tcp, proto="" if tcp else "TLS")
        env["SSLCTLFD"], env["SSLREADFD"], env["SSLWRITEFD"] = map(str, fds)
        env.update(decision.settings)
        return env

    def _order(self, pid: int, visitor: Visitor, *, tells: bool = False) -> Order:
        """What the relay is to know; the banner is said by it where TLS comes at once."""
        host = visitor.ip if visitor.is_doubtful else visitor.host
        return Order(pid, visitor.ip, host, self._tls.late_banner, tells=tells, silent=visitor.silent)

    def _call_at_once(self, visitor: Visitor, decision: Decision) -> int:
        """A network program of ours, in TLS from its first word; its exit code, or the relay's. Raises OSError."""
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        fd, tells, code = ours.detach(), self._tls.tls_variables, TROUBLE
        try:
            try:
                send(self._channel, self._order(self.pid, visitor, tells=tells), [visitor.fd, theirs.fileno()])
            finally:
                theirs.close()
            env = self._environment(visitor, decision, (fd, fd, fd))
            block = read_told(fd) if tells else b""
            if block is not None:
                if block:
                    env.update(variables_of(block))
                code = self._call(env, Connection.from_socket(fd))
        finally:
            os.close(fd)
        return self._await_relay() or code

    def _call_delayed(self, visitor: Visitor, decision: Decision, ends: Ends) -> int:
        """A network program of ours that asks for TLS or not; its exit code, or the relay's. Raises OSError."""
        ends.hand_over(self._channel, self._order(self.pid, visitor))
        env = self._environment(visitor, decision, (ends.control, ends.reader, ends.writer))
        code = self._call(env, Connection.from_socket(visitor.fd))
        ends.close()
        return self._await_relay() or code

    def _await_relay(self) -> int:
        """Until the relay is done with the session; its code where TLS failed. Raises OSError where it is gone."""
        code = self._answer()
        return code if code in (NO_TLS, NO_CREDENTIALS) else 0

    def _answer(self) -> int:
        answer = self._channel.recv(1)
        if not answer:
            raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
        return answer[0]

    def _start_program(self, ends: Ends, visitor: Visitor, decision: Decision, told: bool) -> tuple[int, int]:
        """A program as a process; its pid and wait status. Raises OSError."""
        env = self._environment(visitor, decision, (FIRST_FREE, FIRST_FREE + 1, FIRST_FREE + 2))
        if self._tls.delayed or not self._tls.tls_variables:
            pid, trouble = self._spawn(ends, visitor, decision, env, told)
            if trouble:
                return pid, trouble
            try:
                ends.hand_over(self._channel, self._order(pid, visitor))
                if not self._tls.delayed:
                    os.write(ends.control, START)
            except OSError as error:  # the relay is gone, and with it the session
                self._is_broken(error)
                ends.close()
                os.kill(pid, signals.SIGTERM)
                return pid, os.waitpid(pid, 0)[1]
        else:
            try:
                ends.hand_over(self._channel, self._order(self.pid, visitor))
            except OSError:
                self._tell(visitor, decision, self.pid, told)
                raise
            variables = self._ask(ends)
            if variables is None:
                self._tell(visitor, decision, self.pid, told)
                ends.close()
                return self.pid, self._await_relay() << 8
            pid, trouble = self._spawn(ends, visitor, decision, {**env, **variables}, told)
            if trouble:
                ends.close()
                self._await_relay()
                return pid, trouble
            if told:
                cipher = f"{variables['SSL_PROTOCOL']}:{variables['SSL_CIPHER']}"
                self._log.begun(pid, visitor.ip, self._tls, cipher)  # type: ignore[attr-defined]
        ends.close()
        return pid, self._await_both(pid)

    def _ask(self, ends: Ends) -> dict[str, str] | None:
        """TLS at once: what the handshake tells; None where it failed."""
        os.write(ends.control, START_AND_LEAVE_TELLING)
        try:
            return read_variables(ends.control)
        except OSError:
            return None

    def _spawn(self, ends: Ends, visitor: Visitor, decision: Decision, env: dict[str, str], told: bool) -> tuple[int, int]:
        """The program's pid and 0; where it cannot be started, ours and the wait status."""
        fds = {0: ends.reader, 1: ends.writer}
        if self._tls.delayed:
            fds = {0: visitor.fd, 1: visitor.fd}
        fds |= {FIRST_FREE: ends.control, FIRST_FREE + 1: ends.reader, FIRST_FREE + 2: ends.writer}
        argv = self._program.argv
        try:
            pid = chain.spawn(argv, env, fds, env.get("PATH", chain.DEFAULT_PATH))
        except OSError as error:
            self._tell(visitor, decision, self.pid, told)
            self._log.complain("fatal", f"({TROUBLE}) unable to run: {argv[0]}", error)
            return self.pid, TROUBLE << 8
        self._tell(visitor, decision, pid, told)
        self._board.set_program(self._cell, pid)
        return pid, 0

    def _await_both(self, pid: int) -> int:
        """Until program and relay have ended; the wait status.

        A program whose TLS has failed or was given up is told to end; one that was heard out knows by the end of its input,
        of which it may have some still to read.
        """
        process = os.pidfd_open(pid)
        poller = select.poll()
        poller.register(process, select.POLLIN)
        poller.register(self._channel.fileno(), select.POLLIN)
        code, status, relay_runs = 0, None, True
        try:
            while status is None or relay_runs:
                for fd, _ in poller.poll():
                    poller.unregister(fd)
                    if fd == process:
                        status = os.waitpid(pid, 0)[1]
                        continue
                    code, relay_runs = self._last_word(), False
                    if status is None and code not in (0, NEVER_ASKED):
                        os.kill(pid, signals.SIGTERM)
        finally:
            os.close(process)
        return code << 8 if code in (NO_TLS, NO_CREDENTIALS) else status or 0

    def _last_word(self) -> int:
        """The relay's code; TROUBLE where it is gone, and so will be this worker."""
        try:
            return self._answer()
        except OSError as error:
            self._is_broken(error)
            return TROUBLE

    def _is_broken(self, error: OSError) -> None:
        self._left, self._code = 0, TROUBLE
        self._log.complain("error", f"({TROUBLE}) no TLS process", error)
