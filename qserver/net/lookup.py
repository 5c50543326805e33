"""Look-ups in the DNS, as djb's stub resolver does them (ucspi 1.4): no /etc/hosts, no search list, no cache of our own.

dnspython writes the questions and reads the answers; it is imported at the first question, or by `preload` in a master
before it forks. Which server is asked when, and how long it has, is decided here.
"""

from __future__ import annotations

import _socket
import os
import select
import time

from qserver.net.addresses import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dns.message import Message
    from dns.name import Name
    from dns.rdata import Rdata
    from dns.rdatatype import RdataType

    Server = tuple[int, tuple[str, int] | tuple[str, int, int, int]]
    """Address family and socket address."""
    Records = list[Rdata] | None
    """What a name has of a type; None when there is no such name at all."""

PORT = 53
MOST_SERVERS = 16
RESOLV_CONF = "/etc/resolv.conf"
LOCAL_SERVERS = ("::1", "127.0.0.1")
ROUNDS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds each server has to answer, round by round."""
TCP_PATIENCE = 10.0
"""Seconds for a whole exchange over TCP."""
MOST_ALIASES = 16
LONGEST_LABEL = 63
LONGEST_NAME = 255
TRUNCATED, RESPONSE = 0x02, 0x80
"""In octet 2 of a message."""
OCTAL = b"01234567"
PLAIN = b"abcdefghijklmnopqrstuvwxyz0123456789-_"
"""Octets of a label that stand for themselves; others are written as a backslash and three octal digits."""


class DnsTemporary(Exception):
    """No server gave an answer, or the name cannot be asked for; to ask later may help."""


def preload() -> None:
    """Import dnspython and what it needs to read the records we ask for."""
    import dns.message
    import dns.name
    import dns.rcode
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype

    for kind in ("A", "AAAA", "CNAME", "MX", "PTR", "TXT"):
        dns.rdata.get_rdata_class(dns.rdataclass.IN, dns.rdatatype.from_text(kind))  # type: ignore[no-untyped-call]


class Resolver:
    """Questions to the servers of $DNSCACHEIP, else of resolv.conf (read again when it changes), else of this host.

    $DNSCACHEIP holds addresses between blanks; an IPv6 one may carry `%interface`. Further than ucspi goes
    `address#port`, for a server that is not on port 53.
    """

    __slots__ = ("_given", "_servers", "_signature", "resolv_conf", "rounds")

    def __init__(self, env: Mapping[str, str]) -> None:
        self.rounds: tuple[float, ...] = ROUNDS
        self.resolv_conf = RESOLV_CONF
        self._given = _usable(env.get("DNSCACHEIP", "").split())
        self._servers: list[Server] = []
        self._signature: tuple[int, int, int] | None = None

    def addresses(self, name: str, family: int = 0) -> list[str]:
        """The A, then the AAAA records of a name (`family` restricts); a literal address, also in brackets, is itself.

        One kind of record in hand is an answer even when the other kind cannot be had. Raises DnsTemporary.
        """
        known = _literal(name)
        if known is not None:
            return [known[1]] if family in (0, known[0]) else []
        found: list[str] = []
        trouble: DnsTemporary | None = None
        for kind, of_family in (("A", _socket.AF_INET), ("AAAA", _socket.AF_INET6)):
            if family not in (0, of_family):
                continue
            try:
                records = self._ask(name, kind)
            except DnsTemporary as error:
                trouble = error
                continue
            if records is None:
                break
            found += [str(record.address) for record in records]  # type: ignore[attr-defined]
        if trouble is not None and not found:
            raise trouble
        return found

    def mx(self, name: str) -> list[tuple[int, bytes]]:
        """(preference, name) of the mail exchangers, without the final dot, so `b""` for the null MX of RFC 7505.

        Raises DnsTemporary.
        """
        if _literal(name) is not None:
            return []
        records = self._ask(name, "MX") or []
        return [(int(record.preference), dotted(record.exchange)) for record in records]  # type: ignore[attr-defined]

    def ptr(self, ip: str) -> list[bytes]:
        """The names of an address, in lower case; the first is the one that counts. Raises DnsTemporary."""
        name = _reverse(ip)
        if name is None:
            return []
        records = self._ask(name, "PTR") or []
        return [dotted(record.target).lower() or b"." for record in records]  # type: ignore[attr-defined]

    def txt(self, name: str) -> list[bytes]:
        """The TXT records, the strings of each joined. Raises DnsTemporary."""
        return [b"".join(record.strings) for record in self._ask(name, "TXT") or []]  # type: ignore[attr-defined]

    def _ask(self, name: str, kind: str) -> Records:
        import dns.message
        import dns.name
        import dns.rdatatype

        wanted = dns.rdatatype.from_text(kind)
        question = dns.message.make_query(dns.name.Name(labels(name)), wanted, use_edns=False)
        return _records(self._exchange(question), question.question[0].name, wanted)

    def _exchange(self, question: Message) -> Message:
        """Rounds over the servers until one answers; those that refuse or fail are not asked again. Raises DnsTemporary."""
        servers = self.servers()
        for patience in self.rounds:
            for server in list(servers):
                answer = _answer_of(server, question, patience)
                if answer is None:
                    continue
                if _is_conclusive(answer):
                    return answer
                servers.remove(server)
        raise DnsTemporary(question.question[0].name.to_text())

    def servers(self) -> list[Server]:
        """The servers to ask, in order, at most 16."""
        if self._given:
            return list(self._given)
        signature = _signature(self.resolv_conf)
        if not self._servers or signature != self._signature:
            self._servers = _usable(_name_servers(self.resolv_conf)) or _usable(LOCAL_SERVERS)
            self._signature = signature
        return list(self._servers)


def _signature(path: str) -> tuple[int, int, int] | None:
    """What tells one state of a file from another; None where there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def labels(name: str) -> list[bytes]:
    """The labels of a dotted name, root last: `\\ooo` is an octet, empty labels are dropped (dns_domain_fromdot).

    Raises DnsTemporary for a label longer than 63 or a name longer than 255 octets.
    """
    data = os.fsencode(name)
    found = [part for part in (_unescape(data) if b"\\" in data else data.split(b".")) if part]
    if any(len(label) > LONGEST_LABEL for label in found) or sum(map(len, found)) + len(found) + 1 > LONGEST_NAME:
        raise DnsTemporary("name too long")
    return [*found, b""]


def _unescape(data: bytes) -> Iterator[bytes]:
    label = bytearray()
    at = 0
    while at < len(data):
        octet = data[at]
        at += 1
        if octet == 0x2E:
            yield bytes(label)
            label.clear()
            continue
        if octet == 0x5C and at < len(data):
            end = at
            while end < at + 3 and data[end : end + 1] and data[end] in OCTAL:
                end += 1
            octet = int(data[at:end], 8) & 255 if end > at else data[at]
            at = max(end, at + 1)
        label.append(octet)
    yield bytes(label)


def dotted(name: Name) -> bytes:
    """A name as text, without the final dot; octets that are not letters, digits, `-`, `_` are `\\ooo`."""
    return b".".join(_escape(label) for label in name.labels if label)


def _escape(label: bytes) -> bytes:
    if not label.lower().strip(PLAIN):
        return label
    return b"".join(b"%c" % octet if octet in PLAIN + PLAIN.upper() else b"\\%03o" % octet for octet in label)


def _literal(name: str) -> tuple[int, str] | None:
    """(family, address) of an address in text, perhaps in brackets; None for a name."""
    packed = parse(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    if packed is None:
        return None
    family = _socket.AF_INET if len(packed) == 4 else _socket.AF_INET6
    return family, _socket.inet_ntop(family, packed)


def _reverse(ip: str) -> str | None:
    """The name under which the PTR of an address is found; None for what is no address."""
    packed = parse(ip)
    if packed is None:
        return None
    if len(packed) == 4:
        return ".".join(str(octet) for octet in reversed(packed)) + ".in-addr.arpa"
    return ".".join(reversed(packed.hex())) + ".ip6.arpa"


def _name_servers(path: str) -> list[str]:
    """The addresses on the nameserver lines of resolv.conf."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return []
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]


def _usable(texts: Iterable[str]) -> list[Server]:
    """The servers that these texts name; what is not an address is passed over."""
    return [server for server in map(_server, texts) if server is not None][:MOST_SERVERS]


def _server(text: str) -> Server | None:
    """A server written as `address` or `address%interface`, with or without `#port`; None for anything else."""
    address, _, port = text.partition("#")
    address, _, interface = address.partition("%")
    known = _literal(address)
    number = int(port) if port.isascii() and port.isdigit() else 0 if port else PORT
    if known is None or not 0 < number < 65536:
        return None
    if known[0] == _socket.AF_INET:
        return known[0], (known[1], number)
    try:
        return known[0], (known[1], number, 0, _socket.if_nametoindex(interface) if interface else 0)
    except OSError:
        return None


def _answer_of(server: Server, question: Message, patience: float) -> Message | None:
    """One server's answer: over UDP, and over TCP where that was truncated; None when it does not give one."""
    try:
        answer = _ask_by_udp(server, question, patience)
        return _ask_by_tcp(server, question) if answer is None else answer
    except OSError:
        return None


def _ask_by_udp(server: Server, question: Message, patience: float) -> Message | None:
    """The first datagram that answers the question (others are ignored), None where that is truncated.

    Raises OSError (TimeoutError when there is none).
    """
    deadline = time.monotonic() + patience
    family, address = server
    asker = _socket.socket(family, _socket.SOCK_DGRAM)
    try:
        asker.setblocking(False)
        asker.connect(address)
        asker.send(question.to_wire())
        poller = select.poll()
        poller.register(asker.fileno(), select.POLLIN)
        while poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            wire = asker.recv(65535)
            if _is_truncated(wire, question):
                return None
            answer = _parse(wire, question)
            if answer is not None:
                return answer
    finally:
        asker.close()
    raise TimeoutError


def _is_truncated(wire: bytes, question: Message) -> bool:
    """Whether this is the answer's beginning; it may end in the middle of a record, so only the header is looked at."""
    return len(wire) > 2 and wire[:2] == question.id.to_bytes(2, "big") and wire[2] & TRUNCATED != 0


def _ask_by_tcp(server: Server, question: Message) -> Message | None:
    """The answer over TCP. Raises OSError (TimeoutError; ConnectionResetError when the server hangs up)."""
    deadline = time.monotonic() + TCP_PATIENCE
    family, address = server
    data = question.to_wire()
    asker = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        asker.settimeout(TCP_PATIENCE)
        asker.connect(address)
        asker.sendall(len(data).to_bytes(2, "big") + data)
        length = int.from_bytes(_receive(asker, 2, deadline), "big")
        return _parse(_receive(asker, length, deadline), question)
    finally:
        asker.close()


def _receive(asker: _socket.socket, length: int, deadline: float) -> bytes:
    data = b""
    while len(data) < length:
        asker.settimeout(max(0.001, deadline - time.monotonic()))
        block = asker.recv(length - len(data))
        if not block:
            raise ConnectionResetError
        data += block
    return data


def _parse(wire: bytes, question: Message) -> Message | None:
    """The message, if it answers the question; None for what does not. Raises DnsTemporary for a malformed answer."""
    import dns.exception
    import dns.message

    try:
        answer = dns.message.from_wire(wire, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        if _is_response(wire, question):  # asking again would bring the same
            raise DnsTemporary("malformed answer") from None
        return None
    return answer if question.is_response(answer) else None


def _is_response(wire: bytes, question: Message) -> bool:
    """Whether octets that are no message say at least that they answer the question."""
    asked = question.to_wire()
    end = len(asked)
    return wire[:2] == asked[:2] and len(wire) > end and wire[2] & RESPONSE != 0 and wire[12:end].lower() == asked[12:].lower()


def _is_conclusive(answer: Message) -> bool:
    """Whether the server knows: NOERROR or NXDOMAIN; SERVFAIL, REFUSED and the like say only that it does not.

    So does a referral by a server that neither recurses nor has the authority (a lame one).
    """
    import dns.flags
    import dns.rcode

    if answer.rcode() == dns.rcode.NOERROR:
        return bool(answer.answer) or bool(answer.flags & (dns.flags.AA | dns.flags.RA))
    return answer.rcode() == dns.rcode.NXDOMAIN


def _records(answer: Message, name: Name, kind: RdataType) -> Records:
    """The records of this type at the end of the chain of aliases that begins at the name."""
    import dns.rcode
    import dns.rdataclass
    import dns.rdatatype

    held = {(rrset.name, rrset.rdtype): rrset for rrset in answer.answer if rrset.rdclass == dns.rdataclass.IN}
    for _ in range(MOST_ALIASES):
        if (name, kind) in held:
            return list(held[name, kind])
        alias = held.get((name, dns.rdatatype.CNAME))
        if alias is None:
            break
        name = alias[0].target
    return None if answer.rcode() == dns.rcode.NXDOMAIN else []
