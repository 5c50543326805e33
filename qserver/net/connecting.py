"""A client's side of a connection: which addresses, in which order, for how long (ucspi 7)."""

from __future__ import annotations

import _socket
import errno
import os
import select
import time

from qserver.base.errors import error_text, fatal
from qserver.net import addresses
from qserver.net.visitor import Visitor, endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LOCAL = "127.0.0.1"
"""What the host `0` is."""


class Unreachable(Exception):
    """No address answered: the last one, and why."""

    def __init__(self, ip: str, port: int, error: OSError) -> None:
        super().__init__(f"unable to connect to: {ip} port: {port}: {error_text(error)}")


def resolve(prog: str, host: str, family: str, env: Mapping[str, str]) -> list[str]:
    """The addresses of a host, those of the preferred family ("4", "6" or "") first. Raises Die 111."""
    literal = addresses.parse(LOCAL if host == "0" else host)
    if literal is not None:
        return [addresses.compact(literal)]
    from qserver.net.lookup import DnsTemporary, Resolver

    try:
        found = Resolver(env).addresses(host)
    except DnsTemporary:
        raise fatal(prog, f"(111) temporarily unable to figure out IP address for: {host}") from None
    if not found:
        raise fatal(prog, f"(111) no IP address for: {host}")
    return sorted(found, key=lambda ip: bool(family) and (":" in ip) != (family == "6"))


class Local:
    """Where our side is to be bound: address, port and scope; nowhere where they are empty."""

    __slots__ = ("interface", "ip", "no_delay", "port")

    def __init__(self, ip: str, port: int, interface: str, no_delay: bool) -> None:
        self.ip = ip
        self.port = port
        self.interface = interface
        self.no_delay = no_delay


def connect(prog: str, found: list[str], port: int, patience: tuple[int, int], local: Local) -> _socket.socket:
    """A connected socket: every address gets the first number of seconds, those that did not answer in time the second.

    A single address gets both at once. Raises Unreachable, Die.
    """
    first, second = patience
    if len(found) == 1:
        first, second = first + second, 0
    trouble = Unreachable(found[-1], port, TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
    silent: list[str] = []
    for turn, seconds in ((found, first), (silent, second)):
        if not seconds and turn is silent:
            continue
        for ip in list(turn):
            try:
                return _try(prog, ip, port, seconds, local)
            except OSError as error:
                trouble = Unreachable(ip, port, error)
                if error.errno == errno.ETIMEDOUT and turn is found:
                    silent.append(ip)
    raise trouble


def _try(prog: str, ip: str, port: int, seconds: float, local: Local) -> _socket.socket:
    """Raises OSError; Die where our own side cannot be bound."""
    family = _socket.AF_INET6 if ":" in ip else _socket.AF_INET
    made = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    try:
        if local.no_delay:
            made.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        scope = _socket.if_nametoindex(local.interface) if local.interface and family == _socket.AF_INET6 else 0
        if local.ip or local.port:
            _bind(prog, made, local, scope)
        trouble = made.connect_ex(_address(family, ip, port, scope))
        if trouble == errno.EINPROGRESS:
            trouble = _await(made, seconds)
        if trouble:
            raise OSError(trouble, os.strerror(trouble))
    except BaseException:
        made.close()
        raise
    os.set_blocking(made.fileno(), True)
    return made


def _bind(prog: str, made: _socket.socket, local: Local, scope: int) -> None:
    anywhere = "::" if made.family == _socket.AF_INET6 else "0.0.0.0"
    try:
        made.bind(_address(made.family, local.ip or anywhere, local.port, scope))
    except OSError as error:
        raise fatal(prog, "(111) unable to bind socket", error, unknown=None) from error


def _address(family: int, ip: str, port: int, scope: int) -> tuple[str, int] | tuple[str, int, int, int]:
    return (ip, port, 0, scope) if family == _socket.AF_INET6 else (ip, port)


def _await(made: _socket.socket, seconds: float) -> int:
    """The errno with which a connection attempt has ended; 0 for none."""
    poller = select.poll()
    poller.register(made.fileno(), select.POLLOUT)
    deadline = time.monotonic() + seconds
    if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        return errno.ETIMEDOUT
    return made.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)


def visitor(made: _socket.socket) -> Visitor:
    """Both ends of a connection."""
    found = Visitor(made.fileno(), made.getpeername())
    found.local_ip, found.local_port, _ = endpoint(made.getsockname())
    return found
