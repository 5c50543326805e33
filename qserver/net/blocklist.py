"""What rblsmtpd finds out about a client before the mail server sees it (ucspi 10)."""

from __future__ import annotations

from qserver.net import addresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from qserver.net.lookup import Resolver

MAPPED = "::ffff:"
LONGEST_TEXT = 200
TEMPORARY, PERMANENT = b"451 ", b"553 "
TROUBLE = b"temporary RBL lookup error"


def address_of(env: Mapping[str, str]) -> str:
    """The client's address."""
    ip = env.get("TCP6REMOTEIP", "::") if env.get("PROTO") == "TCP6" else env.get("TCPREMOTEIP", "0.0.0.0")
    return ip[len(MAPPED) :] if ip.startswith(MAPPED) else ip


def query(ip: str, base: str) -> str | None:
    """The name under which a list has the address; None for what is no address."""
    packed = addresses.parse(ip)
    if packed is None:
        return None
    if len(packed) == 4:
        return ".".join([*map(str, reversed(packed)), base])
    return ".".join([*reversed(packed.hex()), base])


class Verdict:
    """Undecided (`text` None and not `accepted`), accepted, or blocked with a text."""

    __slots__ = ("accepted", "bounces", "must_not_bounce", "text")

    def __init__(self) -> None:
        self.accepted = False
        self.text: bytes | None = None
        self.bounces = False
        """Whether the refusal is a permanent one, if nothing forbids it."""
        self.must_not_bounce = False

    def is_open(self) -> bool:
        """Whether look-ups go on."""
        return not self.accepted and self.text is None

    def block(self, text: bytes, bounces: bool) -> None:
        """Refuse."""
        self.text = text
        self.bounces = bounces

    def message(self) -> bytes:
        """The refusal, without an end of line."""
        text = (self.text or b"")[:LONGEST_TEXT]
        shown = bytes(byte if 32 <= byte <= 126 else 0x3F for byte in text)
        return (PERMANENT if self.bounces and not self.must_not_bounce else TEMPORARY) + shown


def from_environment(value: str | None, verdict: Verdict, text: bytes) -> None:
    """$RBLSMTPD: unset says nothing, empty accepts, `-…` refuses for good, all else for now. `text`: its bytes."""
    if value is None:
        return
    if not value:
        verdict.accepted = True
    elif value.startswith("-"):
        verdict.block(text[1:], bounces=True)
    else:
        verdict.block(text, bounces=False)


def ask_list(resolver: Resolver, ip: str, base: str, verdict: Verdict, *, bounces: bool, closed: bool) -> None:
    """-r: a list of those who are not wanted. `closed`: trouble is a refusal."""
    from qserver.net.lookup import DnsTemporary

    name = query(ip, base)
    if name is None:
        return
    try:
        found = resolver.txt(name)
    except DnsTemporary:
        verdict.must_not_bounce = True
        if closed:
            verdict.block(TROUBLE, bounces=False)
        return
    if found:
        verdict.block(b"\n".join(found), bounces)


def ask_friends(resolver: Resolver, ip: str, base: str, verdict: Verdict, *, closed: bool) -> None:
    """-a: a list of those who are welcome. Without `closed` trouble is an acceptance."""
    from qserver.net.lookup import DnsTemporary

    name = query(ip, base)
    if name is None:
        return
    try:
        import _socket

        verdict.accepted = bool(resolver.addresses(name, _socket.AF_INET6 if ":" in ip else _socket.AF_INET))
    except DnsTemporary:
        verdict.must_not_bounce = True
        verdict.accepted = not closed
