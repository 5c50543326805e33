"""Where a message goes before the DNS is asked, and which local address it leaves from (delivery 8.2)."""

from __future__ import annotations

from qmail.ipme import canonical
from qmail.remote.reports import BAD_BINDING, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmail.control import Controls

SMTP = "smtp"
SMTP_PORT = 25
ROUTE_FILES = (("smtproutes", SMTP, SMTP_PORT),)
"""Route tables in the order they are asked at each level of the host name: file, protocol, its port."""
BOUNCE_KEY = b"!@"


class Route:
    """A next hop: `relay` None means the exchangers of the host itself. User and password are for SMTP AUTH."""

    __slots__ = ("password", "port", "protocol", "relay", "user")

    def __init__(self, protocol: str, port: int, relay: bytes | None = None, user: bytes = b"", password: bytes = b"") -> None:
        self.protocol = protocol
        self.port = port
        self.relay = relay
        self.user = user
        self.password = password


class Binding:
    """The local end: an address with optional interface (`fe80::1%eth0`), and the name to say in EHLO, if special."""

    __slots__ = ("address", "helohost")

    def __init__(self, address: str, helohost: bytes | None = None) -> None:
        self.address = address
        self.helohost = helohost


def levels(host: bytes) -> Iterator[bytes]:
    """A host as route tables are asked: `a.b.c`, `.b.c`, `.c` and the empty key, in lower case."""
    name = host.lower()
    yield name
    at = name.find(b".", 1)
    while at >= 0:
        yield name[at:]
        at = name.find(b".", at + 1)
    if name:
        yield b""


def find_route(sender: bytes, host: bytes, controls: Controls) -> Route:
    """The first route that a table has for the host; a bounce (empty sender) asks for `!@` first. Raises OSError."""
    tables = [(controls.mapping(name) or {}, protocol, port) for name, protocol, port in ROUTE_FILES]
    keys = ([] if sender else [BOUNCE_KEY]) + list(levels(host))
    for key in keys:
        for table, protocol, port in tables:
            value = table.get(key)
            if value is not None:
                return parse_route(value, protocol, port)
    return Route(SMTP, SMTP_PORT)


def parse_route(value: bytes, protocol: str, port: int) -> Route:
    """`relay[;port][|user|password]`, or djb's `relay:port`; an empty relay means the normal look-up."""
    target, _, credentials = value.partition(b"|")
    user, _, password = credentials.partition(b"|")
    relay, _, number = target.partition(b";")
    if not number and relay.count(b":") == 1:
        name, _, digits = relay.partition(b":")
        if digits.isdigit():
            relay, number = name, digits
    if number.isdigit() and 0 < int(number[:6]) < 65536:
        port = int(number)
    return Route(protocol, port, relay or None, user, password)


def find_binding(sender: bytes, controls: Controls) -> Binding | None:
    """control/domainips for the sender's domain, else control/outgoingip. Raises OSError, Verdict."""
    table = controls.mapping("domainips") or {}
    domain = sender.rpartition(b"@")[2] if b"@" in sender else b""
    for key in (*levels(domain), b"", b"*"):
        value = table.get(key)
        if value is not None:
            return _parse_binding(value)
    outgoing = controls.line("outgoingip")
    return _parse_binding(outgoing) if outgoing else None


def _parse_binding(value: bytes) -> Binding:
    """`localip[%ifname][|helohost]`. Raises Verdict."""
    text, _, helohost = value.partition(b"|")
    address, percent, interface = text.decode("latin-1").partition("%")
    known = canonical(address.strip("[]"))
    if known is None:
        raise Verdict(BAD_BINDING)
    return Binding(known + percent + interface, helohost or None)
