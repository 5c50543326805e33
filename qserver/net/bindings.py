"""Where a server listens: host and port words, sockets of its own, sockets it inherited (ucspi 5, operations 9.5)."""

from __future__ import annotations

import _socket
import errno
import os

from qserver.base.errors import Die, fatal
from qserver.base.getopt import scan_number
from qserver.net import addresses
from qserver.net.options import wrong_call
from qserver.net.visitor import endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from qserver.net.options import Options, Syntax

FIRST_INHERITED = 3
EVERYWHERE = ("0", "::", ":0")
"""Hosts that mean every local address of both families."""
WELL_KNOWN = {
    "smtp": 25, "submission": 587, "smtps": 465, "submissions": 465, "ssmtp": 465, "qmtp": 209, "qmtps": 6209, "qmqp": 628,
    "pop3": 110, "pop3s": 995,
}  # fmt: skip
"""Ports by name where /etc/services does not have them."""

MOST_WAITING = 0x7FFFFFFF
"""The longest queue that can be asked for; the kernel has a limit of its own."""


class Listener:
    """A listening socket, never blocking. `local` is the (ip, port) of its connections where that is one and known."""

    __slots__ = ("inherited", "local", "port", "sock")

    def __init__(self, sock: _socket.socket, inherited: bool) -> None:
        self.sock = sock
        self.inherited = inherited
        ip, self.port, _ = endpoint(sock.getsockname())
        self.local = None if ip in ("0.0.0.0", "::") else (ip, self.port)
        sock.setblocking(False)

    def shut(self) -> None:
        """Stop listening in all processes at once, unless the socket is somebody else's too."""
        if not self.inherited:
            try:
                self.sock.shutdown(_socket.SHUT_RDWR)
            except OSError:  # another process was faster
                return


def open_all(options: Options, syntax: Syntax, env: Mapping[str, str]) -> tuple[list[Listener], str]:
    """The sockets of a server: inherited ones, or its own; and the address as -1 prints it. Raises Die."""
    prog, count = syntax.name, inherited_count(env)
    port = 0 if count else port_number(prog, options.port)
    if not options.program:
        raise wrong_call(options, syntax)
    if not count:
        listener, shown = listen(prog, options, port, env)
        return [listener], shown
    listeners = inherit(prog, count, options)
    return listeners, listeners[0].local[0] if listeners[0].local else "::"


def port_number(prog: str, text: str) -> int:
    """The port a word names. Raises Die 111."""
    if not text.strip("0123456789"):
        return scan_number(text) % 65536
    try:
        return _socket.getservbyname(text, "tcp")
    except OSError:
        pass
    if text in WELL_KNOWN:
        return WELL_KNOWN[text]
    raise fatal(prog, f"(111) unable to figure out port number for: {text}")


def listen(prog: str, options: Options, port: int, env: Mapping[str, str]) -> tuple[Listener, str]:
    """Resolve the host, bind and listen; returns the listener and the address as -1 prints it. Raises Die 111."""
    host = options.host
    if host in EVERYWHERE:
        sock = _bind_everywhere(prog, options, port)
        shown = "0.0.0.0" if host == "0" else "::"
        if sock.family == _socket.AF_INET:
            shown = "0.0.0.0"
    else:
        ip = addresses.compact(_host_address(prog, options, env))
        sock = _bind(prog, options, _socket.AF_INET6 if ":" in ip else _socket.AF_INET, ip, port)
        shown = endpoint(sock.getsockname())[0]
    _listen(prog, sock, options.backlog)
    return Listener(sock, inherited=False), shown


def _host_address(prog: str, options: Options, env: Mapping[str, str]) -> bytes:
    """The octets of the host's address: a literal, or the name's first one of the preferred family. Raises Die 111."""
    packed = addresses.parse(options.host)
    if packed is not None:
        return packed
    from qserver.net.lookup import DnsTemporary, Resolver

    try:
        found = Resolver(env).addresses(options.host)
    except DnsTemporary:
        raise fatal(prog, f"(111) temporarily unable to figure out IP address for: {options.host}") from None
    preferred = [ip for ip in found if options.family and (":" in ip) == (options.family == "6")]
    for ip in preferred + found:
        packed = addresses.parse(ip)
        if packed is not None:
            return packed
    raise fatal(prog, f"(111) no IP address for: {options.host}")


def _bind_everywhere(prog: str, options: Options, port: int) -> _socket.socket:
    """One IPv6 socket for both families, or an IPv4 one where the machine has no IPv6 or `0` is to be IPv4 only."""
    if not (options.family == "4" and options.host == "0"):
        try:
            sock = _socket.socket(_socket.AF_INET6, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
            return _bind_socket(options, sock, ("::", port, 0, 0))
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise fatal(prog, f"(111) {options.bind_trouble('::', port)}", error, unknown=None) from error
    return _bind(prog, options, _socket.AF_INET, "0.0.0.0", port)


def _bind(prog: str, options: Options, family: int, ip: str, port: int) -> _socket.socket:
    try:
        sock = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    except OSError as error:
        raise fatal(prog, "(111) unable to create socket", error, unknown=None) from error
    try:
        if family == _socket.AF_INET:
            return _bind_socket(options, sock, (ip, port))
        scope = _socket.if_nametoindex(options.interface) if options.interface else 0
        sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, ip != "::")
        return _bind_socket(options, sock, (ip, port, 0, scope))
    except OSError as error:
        raise fatal(prog, f"(111) {options.bind_trouble(ip, port)}", error, unknown=None) from error


def _bind_socket(
    options: Options, sock: _socket.socket, address: tuple[str, int] | tuple[str, int, int, int]
) -> _socket.socket:
    """Raises OSError."""
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    if options.reuse_port:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
    if options.no_delay:  # connections inherit it
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    sock.bind(address)
    return sock


def _listen(prog: str, sock: _socket.socket, backlog: int) -> None:
    try:
        sock.listen(min(backlog, MOST_WAITING))
    except OSError as error:
        raise fatal(prog, "(111) unable to listen", error, unknown=None) from error


def inherited_count(env: Mapping[str, str]) -> int:
    """How many listening sockets were handed to this process."""
    if env.get("LISTEN_PID") != str(os.getpid()):
        return 0
    number = env.get("LISTEN_FDS", "")
    return int(number) if number.isascii() and number.isdigit() else 0


def inherit(prog: str, count: int, options: Options) -> list[Listener]:
    """The sockets on descriptors 3 and up. Raises Die 111 for one that does not listen."""
    listeners = []
    for fd in range(FIRST_INHERITED, FIRST_INHERITED + count):
        try:
            os.set_inheritable(fd, False)
            sock = _socket.socket(fileno=fd)
            if not sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            if sock.family not in (_socket.AF_INET, _socket.AF_INET6):
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            if options.no_delay:
                sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        except OSError as error:
            raise Die(str(fatal(prog, f"(111) unable to use inherited socket {fd}", error, unknown=None))) from error
        listeners.append(Listener(sock, inherited=True))
    return listeners
