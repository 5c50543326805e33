"""A worker of sslserver: as one of tcpserver that serves one session at a time, with a relay beside it (ucspi 6.2)."""

from __future__ import annotations

import _socket
import errno
import os
import select

from qserver.base import chain, signals
from qserver.base.errors import fatal
from qserver.base.privileges import become
from qserver.net import environ
from qserver.net.connection import Connection, read_variables
from qserver.net.programs import Called
from qserver.net.reception import DENIED, TROUBLE, Dropped
from qserver.net.worker import Server
from qserver.tls.relay import START, START_AND_SAY_SO, START_AND_TELL, Order, Relay, close_all, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

    from qserver.net.bindings import Listener
    from qserver.net.programs import Program
    from qserver.net.reception import Decision
    from qserver.net.site import Site
    from qserver.net.visitor import Visitor
    from qserver.tls.log import TlsLog
    from qserver.tls.options import TlsOptions
    from qserver.tls.relay import Pairs

FIRST_FREE = 10
"""The program's three descriptors for TLS have numbers from here on."""


class Cage:
    """Who the relay is, and where: ids of 0 and no directory change nothing."""

    __slots__ = ("directory", "gid", "uid")

    def __init__(self, uid: int, gid: int, directory: str) -> None:
        self.uid = uid
        self.gid = gid
        self.directory = directory

    def enter(self, prog: str) -> None:
        """Raises Die."""
        doing = "chroot"
        try:
            if self.directory:
                os.chroot(self.directory)
                os.chdir("/")
            doing = "set gid"
            if self.gid:
                become(os.getuid(), self.gid, [self.gid])
            doing = "set uid"
            if self.uid:
                become(self.uid, os.getgid(), os.getgroups())
        except OSError as error:
            raise fatal(prog, f"(111) unable to {doing}", error, unknown=None) from error


class Kit:
    """What the master has read before it forks: the context, what there is to say of our certificate, the relay's cage."""

    __slots__ = ("cage", "context", "of_server")

    def __init__(self, context: ssl.SSLContext, of_server: Pairs, cage: Cage) -> None:
        self.context = context
        self.of_server = of_server
        self.cage = cage


class Session:
    """The descriptors of one session: the program's ends of two pipes and of the control socket."""

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

    def close(self) -> None:
        """The program is done with it."""
        for fd in (self.reader, self.writer, self.control):
            try:
                os.close(fd)
            except OSError:  # the program did
                continue


class Secured(Server):
    """Serves sessions one at a time; TLS is the relay's."""

    __slots__ = ("_channel", "_tls")

    def __init__(self, site: Site, cell: int, program: Program, kit: Kit) -> None:
        self._channel, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        options: TlsOptions = site.options  # type: ignore[assignment]
        self._tls = options
        if os.fork() == 0:
            self._be_relay(theirs, site, kit)
        theirs.close()
        if options.gid:
            become(os.getuid(), options.gid, [options.gid])
        if options.uid:
            become(options.uid, os.getgid(), os.getgroups())
        super().__init__(site, cell, program)  # type: ignore[arg-type]
        for fd in (self._channel.fileno(), site.era):
            self._poll.register(fd, select.EPOLLIN)

    def _be_relay(self, channel: _socket.socket, site: Site, kit: Kit) -> None:
        """Never returns."""
        code = TROUBLE
        log: TlsLog = site.log  # type: ignore[assignment]
        try:
            self._channel.close()
            for listener in site.listeners:
                listener.sock.close()
            signals.ignore(signals.SIGPIPE)
            kit.cage.enter(log.name)
            site.titles.relay()
            Relay(channel, kit.context, kit.of_server, self._tls, log).run()
            code = 0
        except BaseException as error:  # noqa: BLE001 - the outermost loop of a process: a bug must say where it is
            text = getattr(error, "text", "")
            log.complain("error", f"({TROUBLE}) {text.partition(') ')[2] or 'internal bug: ' + chain.place(error)}")
        finally:
            os._exit(code)

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
        if decision.allowed:
            try:
                session = Session(visitor.fd)
            except OSError as error:
                self._log.complain("drop", f"({TROUBLE}) unable to make pipes", error)
                return self.pid, TROUBLE << 8
            return self._with_relay(session, visitor, decision, told)
        self._tell(visitor, decision, self.pid, told)
        return self.pid, DENIED << 8

    def _tell(self, visitor: Visitor, decision: Decision, pid: int, told: bool) -> None:
        if told:
            self._log.pid(pid, visitor.ip)
            self._log.verdict("ok" if decision.allowed else "deny", pid, visitor, decision.note)

    def _with_relay(self, session: Session, visitor: Visitor, decision: Decision, told: bool) -> tuple[int, int]:
        env = self._environment(visitor, decision, session)
        banner = b"" if self._tls.delayed else self._tls.late_banner
        try:
            if isinstance(self._program, Called):
                self._tell(visitor, decision, self.pid, told)
                session.hand_over(self._channel, Order(self.pid, visitor.ip, visitor.host, banner))
                return self.pid, self._call_program(session, visitor, env) << 8
            return self._start_program(session, visitor, decision, env, banner, told)
        except OSError as error:  # the relay is gone
            self._left = 0
            self._log.complain("error", f"({TROUBLE}) no TLS process", error)
            return self.pid, TROUBLE << 8
        finally:
            session.close()

    def _environment(self, visitor: Visitor, decision: Decision, session: Session) -> dict[str, str]:
        """The program's, but for what the handshake tells (ucspi 6.6)."""
        tcp = self._tls.tcp_variables
        env = environ.with_tls(self._start, visitor, tcp=tcp, proto="" if tcp else "TLS")
        for name, fd in zip(("SSLCTLFD", "SSLREADFD", "SSLWRITEFD"), self._numbers(session), strict=True):
            env[name] = str(fd)
        return {**env, **dict(decision.settings)}

    def _numbers(self, session: Session) -> tuple[int, int, int]:
        """What the program calls the descriptors for TLS."""
        if isinstance(self._program, Called):
            return session.control, session.reader, session.writer
        return FIRST_FREE, FIRST_FREE + 1, FIRST_FREE + 2

    def _ask(self, session: Session) -> dict[str, str] | None:
        """TLS at once: what the handshake tells, if it is asked for; None where it failed."""
        tells = self._tls.tls_variables
        os.write(session.control, START_AND_TELL if tells else START_AND_SAY_SO)
        try:
            return read_variables(session.control)
        except OSError:
            return None

    def _call_program(self, session: Session, visitor: Visitor, env: dict[str, str]) -> int:
        """A network program of ours; its exit code, or the relay's."""
        code = TROUBLE
        if self._tls.delayed:
            code = self._call(env, Connection.from_socket(visitor.fd))
        else:
            told = self._ask(session)
            if told is not None:
                code = self._call({**env, **told}, Connection.from_fds(session.reader, session.writer))
        session.close()
        return self._await_relay() or code

    def _await_relay(self) -> int:
        """Until the relay is done with the session; its code. Raises OSError where it is gone."""
        answer = self._channel.recv(1)
        if not answer:
            raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
        return answer[0]

    def _start_program(
        self, session: Session, visitor: Visitor, decision: Decision, env: dict[str, str], banner: bytes, told: bool
    ) -> tuple[int, int]:
        """A program as a process; its pid and wait status."""
        program, channel = self._program, self._channel
        pid = self.pid
        if not self._tls.delayed and self._tls.tls_variables:
            session.hand_over(channel, Order(pid, visitor.ip, visitor.host, banner))
            told_by_tls = self._ask(session)
            if told_by_tls is None:
                self._tell(visitor, decision, pid, told)
                session.close()
                return pid, self._await_relay() << 8
            env = {**env, **told_by_tls}
        try:
            pid = self._spawn(session, visitor, env)
        except OSError as error:
            self._tell(visitor, decision, self.pid, told)
            self._log.complain("fatal", f"({TROUBLE}) unable to run: {program.argv[0]}", error)
            if not self._tls.tls_variables or self._tls.delayed:
                close_all(tuple(session.for_relay[1:]))
                return self.pid, TROUBLE << 8
            session.close()
            self._await_relay()
            return self.pid, TROUBLE << 8
        self._tell(visitor, decision, pid, told)
        self._board.set_program(self._cell, pid)
        if self._tls.delayed or not self._tls.tls_variables:
            session.hand_over(channel, Order(pid, visitor.ip, visitor.host, banner))
            if not self._tls.delayed:
                os.write(session.control, START)
        session.close()
        return pid, self._await_both(pid)

    def _spawn(self, session: Session, visitor: Visitor, env: dict[str, str]) -> int:
        plain = self._tls.delayed
        fds = {
            0: visitor.fd if plain else session.reader,
            1: visitor.fd if plain else session.writer,
            FIRST_FREE: session.control,
            FIRST_FREE + 1: session.reader,
            FIRST_FREE + 2: session.writer,
        }
        return chain.spawn(self._program.argv, env, fds, env.get("PATH", chain.DEFAULT_PATH))

    def _await_both(self, pid: int) -> int:
        """Until program and relay have ended; the wait status. Whose TLS has ended is told to end."""
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
                    code, relay_runs = self._await_relay(), False
                    if status is None and code:
                        os.kill(pid, signals.SIGTERM)
        finally:
            os.close(process)
        return code << 8 if code else status or 0
