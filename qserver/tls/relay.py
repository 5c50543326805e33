"""The TLS process beside each worker of sslserver: it has the key and, from the handshake on, the client (ucspi 6.2, 6.4).

For each session the worker sends it an order and two or three descriptors. TLS at once for a program of ours: the client's
socket, and one to the program. Else the client's socket, the writing end of the program's input, the reading end of its
output, and the control socket on which the program, or the worker for it, asks for TLS. It answers with one octet when the
session is over: 0, the exit code of what went wrong, NEVER_ASKED or GIVEN_UP.
"""

from __future__ import annotations

import _socket
import os
from struct import calcsize, pack, unpack

from qserver.base.files import write_all
from qserver.net.connection import block_of
from qserver.tls import variables
from qserver.tls.library import Trouble
from qserver.tls.options import CERTIFICATE_AND_NAME, NO_CERTIFICATE
from qserver.tls.pump import Pump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.net.site import Titles
    from qserver.tls.kit import Kit
    from qserver.tls.log import TlsLog
    from qserver.tls.options import TlsOptions

LONGEST_ORDER = 65536
MOST_DESCRIPTORS = 4
START, START_AND_TELL, START_AND_LEAVE_TELLING = b"y", b"Y", b"W"
"""Asked on the control socket; the last only by the worker, which then tells the log, knowing the program's pid."""
SIZE_OF_INT = calcsize("@i")
SIZE_OF_BLOCK = "@I"
"""Before the variables on a program's only socket."""
NO_TLS, NO_CREDENTIALS = 111, 110
NEVER_ASKED, GIVEN_UP = 255, 254
"""Instead of a code: nobody wanted TLS, the connection is still the program's; nothing has moved for too long."""


class Order:
    """What the worker says of a session."""

    __slots__ = ("banner", "host", "ip", "pid", "silent", "tells")

    def __init__(
        self, pid: int, ip: str, host: str | None, banner: bytes, *, tells: bool = False, silent: bool = False
    ) -> None:
        self.pid = pid
        """The program's, for the log."""
        self.ip = ip
        self.host = host
        self.banner = banner
        """Said in TLS, before the program's first word."""
        self.tells = tells
        """The variables go to the program's only socket first."""
        self.silent = silent
        """A health check, of which the log does not speak."""

    def pack(self) -> bytes:
        """As a datagram."""
        host = os.fsencode(self.host) if self.host else b""
        flags = self.tells + 2 * self.silent
        return b"%d\0%d\0%s\0%s\0%s" % (self.pid, flags, self.ip.encode(), host, self.banner)

    @classmethod
    def unpack(cls, data: bytes) -> Order:
        """The same on the other side."""
        pid, flags, ip, host, banner = data.split(b"\0", 4)
        name = os.fsdecode(host) if host else None
        return cls(int(pid), ip.decode(), name, banner, tells=flags in (b"1", b"3"), silent=flags in (b"2", b"3"))


def send(channel: _socket.socket, order: Order, fds: list[int]) -> None:
    """Hand a session to the relay. Raises OSError."""
    channel.sendmsg([order.pack()], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack(f"@{len(fds)}i", *fds))])


def read_order(channel: _socket.socket) -> tuple[bytes, tuple[int, ...]]:
    """What `send` sent, packed, and the descriptors; none when the worker is gone. Raises OSError."""
    room = _socket.CMSG_SPACE(MOST_DESCRIPTORS * SIZE_OF_INT)
    data, ancillary, _, _ = channel.recvmsg(LONGEST_ORDER, room, _socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            return data, unpack(f"@{len(content) // SIZE_OF_INT}i", content)
    return data, ()


def read_told(fd: int) -> bytes | None:
    """What a program's only socket says first, a block of variables; None where there is no TLS. Raises OSError."""
    size = _read_exactly(fd, calcsize(SIZE_OF_BLOCK))
    return _read_exactly(fd, unpack(SIZE_OF_BLOCK, size)[0]) if size else None


def _read_exactly(fd: int, size: int) -> bytes:
    """Nothing where it ends before that."""
    data = b""
    while len(data) < size:
        block = os.read(fd, size - len(data))
        if not block:
            return b""
        data += block
    return data


class Relay:
    """Serves one session after another, until the worker is gone."""

    def __init__(self, channel: _socket.socket, kit: Kit, options: TlsOptions, log: TlsLog, titles: Titles) -> None:
        self._channel = channel
        self._context = kit.context
        self._of_server = kit.of_server
        self._protocols = kit.protocols
        self._options = options
        self._log = log
        self._titles = titles

    def run(self) -> None:
        """To the end."""
        while True:
            self._titles.relay("idle")
            try:
                data, fds = read_order(self._channel)
            except OSError:
                return
            if len(fds) < 2:
                return
            order = Order.unpack(data)
            self._titles.relay(order.ip)
            try:
                code = self._session(order, fds)
                self._channel.send(bytes((code,)))
            except OSError:
                return

    def _session(self, order: Order, fds: tuple[int, ...]) -> int:
        """Until it is over; the code."""
        client, *rest = fds
        # with a family given, whatever it is, the kernel is not asked for family, type and protocol
        peer = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, client)
        try:
            return self._at_once(order, peer, *rest) if len(rest) == 1 else self._when_asked(order, peer, *rest)
        finally:
            try:
                peer.shutdown(_socket.SHUT_RDWR)
            except OSError:
                pass
            peer.close()

    def _at_once(self, order: Order, peer: _socket.socket, program: int) -> int:
        """TLS for a program of ours."""
        pump = Pump(self._context.session(), peer)
        code = self._begin(order, pump)
        if code:
            os.close(program)
            return code
        if order.tells:
            block = self._block(pump)
            write_all(program, pack(SIZE_OF_BLOCK, len(block)) + block)
        return self._copy(order, pump, program, program)

    def _when_asked(self, order: Order, peer: _socket.socket, to_program: int, from_program: int, control: int) -> int:
        """TLS as the protocol of UCSPI-TLS has it."""
        try:
            try:
                found = self._answer(order, peer, control)
            except OSError:  # nobody at the other end of the control socket
                found = NO_TLS
            if isinstance(found, Pump):
                return self._copy(order, found, from_program, to_program)
            if found == NEVER_ASKED:
                peer.close()  # the connection goes on without us
            close_all((to_program, from_program))
            return found
        finally:
            os.close(control)

    def _answer(self, order: Order, peer: _socket.socket, control: int) -> Pump | int:
        """TLS if it is asked for; else, and where it fails, the code. Raises OSError."""
        asked = os.read(control, 1)
        if asked not in (START, START_AND_TELL, START_AND_LEAVE_TELLING):
            return NEVER_ASKED
        pump = Pump(self._context.session(), peer)
        code = self._begin(order, pump, tells_log=asked != START_AND_LEAVE_TELLING)
        if code:
            return code
        if asked != START:
            write_all(control, self._block(pump) + b"\0")
        return pump

    def _begin(self, order: Order, pump: Pump, *, tells_log: bool = True) -> int:
        """The handshake, and what is demanded of the client; 0, or why not."""
        log = self._log
        try:
            pump.handshake(self._options.tls_timeout, self._protocols)
        except (Trouble, TimeoutError) as error:
            why = "timed out" if isinstance(error, TimeoutError) else str(error)
            if not order.silent:
                log.trouble("fatal", NO_TLS, "unable to accept TLS from", order.ip, order.pid, why)
            return NO_TLS
        if self._options.client != NO_CERTIFICATE and not self._is_welcome(order, pump):
            pump.flush()
            return NO_CREDENTIALS
        if log.verbose and tells_log and not order.silent:
            log.begun(order.pid, order.ip, self._options, f"{pump.tls.version()}:{pump.tls.cipher()}")
        return 0

    def _is_welcome(self, order: Order, pump: Pump) -> bool:
        """Whether the client has a certificate, and with -z whether it is its host's."""
        from qserver.tls import certificates

        der = pump.tls.certificate()
        if der is None:
            self._log.trouble("error", NO_CREDENTIALS, "no client certificate from", order.ip, order.pid)
            return False
        if self._options.client == CERTIFICATE_AND_NAME and order.host is not None:
            other = certificates.matching(certificates.load(der), order.host)
            if other is not None:
                text = f"client hostname does not match certificate for pid: {order.pid} {order.host} <=> {other}"
                self._log.complain("error", f"({NO_CREDENTIALS}) {text}")
                return False
        return True

    def _block(self, pump: Pump) -> bytes:
        """The variables."""
        return block_of([*variables.of_connection(pump.tls), *self._of_server, *variables.of_client(pump.tls)])

    def _copy(self, order: Order, pump: Pump, from_program: int, to_program: int) -> int:
        try:
            if order.banner:
                pump.tls.write(order.banner)
            has_ended = pump.copy(from_program, to_program, self._options.idle)
        except Trouble as trouble:
            if not order.silent:
                self._log.trouble("error", NO_TLS, "unable to speak TLS with", order.ip, order.pid, str(trouble))
            return NO_TLS
        return 0 if has_ended else GIVEN_UP


def close_all(fds: tuple[int, ...]) -> None:
    """Close descriptors that nobody has closed yet."""
    for fd in fds:
        os.close(fd)
