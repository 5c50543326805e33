"""The TLS process beside each worker of sslserver: it has the key and, from the handshake on, the client (ucspi 6.2, 6.4).

For each session the worker sends it four descriptors: the client's socket, the writing end of the program's input, the
reading end of its output, and the control socket, on which the program (or the worker for it) asks for TLS. It answers with
one byte when the session is over: 0, or the exit code of what went wrong.
"""

from __future__ import annotations

import _socket
import array
import json
import os
import ssl

from qserver.net.connection import block_of
from qserver.tls import variables
from qserver.tls.options import CERTIFICATE_AND_NAME, NO_CERTIFICATE
from qserver.tls.pump import Pump, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.tls.log import TlsLog
    from qserver.tls.options import TlsOptions

LONGEST_ORDER = 65536
DESCRIPTORS = 4
Pairs = list[tuple[str, str]]
"""Variables and their values."""
START, START_AND_TELL, START_AND_SAY_SO = b"y", b"Y", b"w"
"""Asked on the control socket; the last only by the worker: the answer is two NULs, and means that TLS began."""
NO_TLS, NO_CREDENTIALS = 111, 110


class Order:
    """What the worker says of a session."""

    __slots__ = ("banner", "host", "ip", "pid")

    def __init__(self, pid: int, ip: str, host: str | None, banner: bytes) -> None:
        self.pid = pid
        """The program's, for the log."""
        self.ip = ip
        self.host = host
        self.banner = banner
        """Said in TLS, before the program's first word."""

    def pack(self) -> bytes:
        """As a datagram."""
        return json.dumps([self.pid, self.ip, self.host, self.banner.decode("latin-1")]).encode()

    @classmethod
    def unpack(cls, data: bytes) -> Order:
        """The same on the other side."""
        pid, ip, host, banner = json.loads(data)
        return cls(pid, ip, host, banner.encode("latin-1"))


def send(channel: _socket.socket, order: Order, fds: list[int]) -> None:
    """Hand a session to the relay. Raises OSError."""
    channel.sendmsg([order.pack()], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", fds))])


class Relay:
    """Serves one session after another, until the worker is gone."""

    def __init__(
        self, channel: _socket.socket, context: ssl.SSLContext, of_server: Pairs, options: TlsOptions, log: TlsLog
    ) -> None:
        self._channel = channel
        self._context = context
        self._of_server = of_server
        """What there is to say of our own certificate."""
        self._options = options
        self._log = log

    def run(self) -> None:
        """To the end."""
        while True:
            try:
                data, fds = self._receive()
            except OSError:
                return
            if not data or len(fds) != DESCRIPTORS:
                return
            code = self._session(Order.unpack(data), fds)
            try:
                self._channel.send(bytes((code,)))
            except OSError:
                return

    def _receive(self) -> tuple[bytes, list[int]]:
        room = _socket.CMSG_SPACE(DESCRIPTORS * array.array("i").itemsize)
        data, ancillary, _, _ = self._channel.recvmsg(LONGEST_ORDER, room, _socket.MSG_CMSG_CLOEXEC)
        fds = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        return data, fds.tolist()

    def _session(self, order: Order, fds: list[int]) -> int:
        """Until it is over; the code."""
        client, to_program, from_program, control = fds
        peer = _socket.socket(fileno=client)
        try:
            asked = os.read(control, 1)
            if asked not in (START, START_AND_TELL, START_AND_SAY_SO):
                close_all((to_program, from_program))
                return 0
            pump = Pump(self._context, peer, server=True)
            code = self._begin(order, pump)
            if code:
                close_all((to_program, from_program))
                return code
            if asked != START:
                os.write(control, self._answer(pump) if asked == START_AND_TELL else b"\0\0")
            return self._copy(order, pump, from_program, to_program)
        except OSError:  # nobody at the other end of the control socket
            close_all((to_program, from_program))
            return NO_TLS
        finally:
            os.close(control)
            try:
                peer.shutdown(_socket.SHUT_RDWR)
            except OSError:
                pass
            peer.close()

    def _begin(self, order: Order, pump: Pump) -> int:
        """The handshake, and what is demanded of the client; 0, or why not."""
        log, doing = self._log, "unable to accept TLS from"
        try:
            pump.handshake(self._options.tls_timeout)
        except ssl.SSLCertVerificationError as error:
            log.trouble("fatal", NO_TLS, doing, order.ip, order.pid, error.verify_message or "certificate verify failed")
            return NO_TLS
        except Trouble as trouble:
            log.trouble("fatal", NO_TLS, doing, order.ip, order.pid, str(trouble))
            return NO_TLS
        except TimeoutError:
            log.trouble("fatal", NO_TLS, doing, order.ip, order.pid, "timed out")
            return NO_TLS
        if self._options.client != NO_CERTIFICATE and not self._is_welcome(order, pump):
            return NO_CREDENTIALS
        if log.verbose:
            cipher = (pump.tls.cipher() or ("",))[0]
            log.accept(order.pid, f"{pump.tls.version()}:{cipher}" if self._options.shows_cipher else "")
        return 0

    def _is_welcome(self, order: Order, pump: Pump) -> bool:
        """Whether the client has a certificate, and with -z whether it is its host's."""
        from qserver.tls import certificates

        der = pump.tls.getpeercert(binary_form=True)
        if der is None:
            self._log.trouble("error", NO_CREDENTIALS, "no client certificate from", order.ip, order.pid)
            return False
        if self._options.client == CERTIFICATE_AND_NAME and order.host is not None:
            other = certificates.matching(certificates.load(der), order.host)
            if other is not None:
                text = f"client hostname does not match certificate for pid: {order.pid} {order.host} <=> {other}"
                self._log.complain("error", f"({NO_CREDENTIALS}) {text}")
                return False
        if self._log.verbose:
            self._log.valid(order.ip, order.pid)
        return True

    def _answer(self, pump: Pump) -> bytes:
        """The variable block."""
        pairs = [*variables.of_connection(pump.tls), *self._of_server, *variables.of_client(pump.tls)]
        return block_of(pairs) + b"\0"

    def _copy(self, order: Order, pump: Pump, from_program: int, to_program: int) -> int:
        try:
            if order.banner:
                pump.tls.write(order.banner)
            pump.copy(from_program, to_program, self._options.idle)
        except Trouble as trouble:
            self._log.trouble("error", NO_TLS, "unable to speak TLS with", order.ip, order.pid, str(trouble))
            return NO_TLS
        return 0


def close_all(fds: tuple[int, ...]) -> None:
    """Close descriptors that nobody has closed yet."""
    for fd in fds:
        os.close(fd)
