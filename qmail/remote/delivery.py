"""One run of qmail-remote: controls, route, addresses, connections, in this order (delivery 8)."""

from __future__ import annotations

import _socket
import errno
import os

from qmail.address import quote2
from qmail.control import Controls
from qmail.remote import reports
from qmail.remote.exchangers import Names, host_addresses, relay_addresses
from qmail.remote.reports import Verdict
from qmail.remote.routes import Binding, Route, find_binding, find_route
from qmail.remote.smtp import Delivery, Dialogue, NextAddress
from qmail.remote.tcpto import TcpTo
from qserver.net.connection import Connection

TIMEOUT_CONNECT = 60
TIMEOUT_REMOTE = 1200
SOCKET_TROUBLE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def preload() -> None:
    """Import the DNS client and its library, which are otherwise imported at the first look-up."""
    from qserver.net import lookup

    lookup.preload()


class Settings:
    """The control files of one run. Raises OSError, Verdict."""

    __slots__ = ("binding", "helohost", "route", "timeout_connect", "timeout_remote")

    def __init__(self, sender: bytes, host: bytes, controls: Controls) -> None:
        helohost = controls.line_or_me("helohost")
        if helohost is None:
            raise Verdict(reports.NO_CONTROLS)
        self.timeout_connect = controls.integer("timeoutconnect", TIMEOUT_CONNECT)
        self.timeout_remote = controls.integer("timeoutremote", TIMEOUT_REMOTE)
        self.route: Route = find_route(sender, host, controls)
        self.binding: Binding | None = find_binding(sender, controls)
        self.helohost = self.binding.helohost if self.binding and self.binding.helohost else helohost


def deliver(host: bytes, sender: bytes, recipients: list[bytes], home: str, env: dict[str, str]) -> list[bytes]:
    """Deliver the message on descriptor 0; returns the reports, without their NULs, in the order of delivery 8."""
    said: list[bytes] = []
    try:
        settings = _settings(sender, host, home)
        names = Names(env)
        route = settings.route
        addresses = relay_addresses(route.relay, names) if route.relay else host_addresses(host, names)
        message = Delivery(settings.helohost, quote2(sender), [quote2(recipient) for recipient in recipients], 0)
        verdict = _try_all(addresses, settings, message, TcpTo(home), said)
    except Verdict as early:
        verdict = early
    except MemoryError:
        verdict = Verdict(reports.NO_MEMORY)
    return [*said, verdict.report]


def _settings(sender: bytes, host: bytes, home: str) -> Settings:
    try:
        return Settings(sender, host, Controls(home))
    except OSError as error:
        raise Verdict(reports.NO_CONTROLS) from error


def _try_all(addresses: list[str], settings: Settings, message: Delivery, tcpto: TcpTo, said: list[bytes]) -> Verdict:
    """Talk to the first address that lets us; the report of that talk is the message's."""
    for ip in addresses:
        if tcpto.should_skip(ip):
            continue
        try:
            connection = _connect(ip, settings)
        except OSError as error:
            tcpto.report(ip, errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno or 0)
            continue
        tcpto.report(ip, None)
        try:
            return Dialogue(ip, connection, message, said).run()
        except NextAddress:
            continue
        finally:
            connection.close()
    return Verdict(reports.NO_CONNECTION)


def _connect(ip: str, settings: Settings) -> Connection:
    """A connection to the address. Raises OSError, Verdict."""
    family, _, _, _, target = _numeric(ip, settings.route.port)
    try:
        sock = _socket.socket(family, _socket.SOCK_STREAM)
    except OSError as error:
        if error.errno in SOCKET_TROUBLE:
            raise Verdict(reports.NO_SOCKET) from error
        raise
    try:
        if settings.binding is not None:
            _bind(sock, family, settings.binding.address)
        sock.settimeout(settings.timeout_connect)
        sock.connect(target)
        sock.settimeout(None)
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        connection = Connection.from_socket(sock.detach())
    finally:
        sock.close()
    connection.set_timeout(settings.timeout_remote)
    return connection


def _bind(sock: _socket.socket, family: int, address: str) -> None:
    """Take the local end. Raises OSError where it is of the other family (another address may fit), else Verdict."""
    try:
        local_family, _, _, _, local = _numeric(address, 0)
        if local_family == family:
            sock.bind(local)
            return
    except OSError as error:
        raise reports.cannot_bind(address) from error
    raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))


def _numeric(ip: str, port: int) -> tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]:
    """getaddrinfo of an address in text; understands `fe80::1%eth0`. Raises OSError."""
    found = _socket.getaddrinfo(ip, port, 0, _socket.SOCK_STREAM, 0, _socket.AI_NUMERICHOST)
    family, kind, protocol, name, target = found[0]
    return family, kind, protocol, name, target  # type: ignore[return-value]
