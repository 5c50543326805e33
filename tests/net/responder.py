"""A name server on loopback (UDP and TCP, one port that the kernel chose) that answers from a table.

    with Responder({"example.org": ["MX 10 mx.example.org", "TXT hello"],
                    "mx.example.org": ["A 192.0.2.1", "AAAA 2001:db8::1"],
                    "www.example.org": ["CNAME example.org"],
                    "192.0.2.1": ["PTR Mx.Example.ORG"],
                    "broken.example.org": ["SERVFAIL"],
                    "half.example.org": ["A 192.0.2.2", "DROP AAAA"]}) as dns:
        Resolver(dns.env).mx("example.org")

A line is a record in the master file's form, or a behaviour, for all types or for those named after it. `DEFAULT`
as a name stands for every name that the table does not have; without it those are NXDOMAIN.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

TTL = 60
MOST_BY_UDP = 512
RCODES = ("SERVFAIL", "REFUSED", "FORMERR", "NOTIMP", "NXDOMAIN")
BEHAVIOURS = {
    "DROP": "no answer at all",
    "TRUNCATE": "over UDP only the question comes back, with TC",
    "CUT": "over UDP the answer ends in the middle of a record, with TC",
    "LAME": "a referral to the root by a server that does not recurse",
    "FORGED": "first an answer with another id, one to another question and noise; then the right one",
    "MALFORMED": "header and question of the answer, then noise",
    "GARBAGE": "noise instead of an answer",
    "HANGUP": "over UDP as TRUNCATE; over TCP the connection is closed",
    **dict.fromkeys(RCODES, "this response code"),
}
NOISE = bytes(range(40))


def _name(text: str) -> dns.name.Name:
    """The owner of a table's entry; an address stands for its reverse name."""
    try:
        return dns.reversename.from_address(text)
    except (dns.exception.SyntaxError, ValueError):
        return dns.name.from_text(text)


class Entry:
    """What the table says of one name."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.records: dict[dns.rdatatype.RdataType, list[dns.rdata.Rdata]] = {}
        self.behaviours: dict[str, list[str]] = {}
        for line in lines:
            word, _, rest = line.partition(" ")
            if word in BEHAVIOURS:
                self.behaviours[word] = rest.split()
                continue
            kind = dns.rdatatype.from_text(word)
            record = dns.rdata.from_text(dns.rdataclass.IN, kind, rest, origin=dns.name.root, relativize=False)
            self.records.setdefault(kind, []).append(record)

    def behaves(self, word: str, kind: dns.rdatatype.RdataType) -> bool:
        """Whether this behaviour is ordered for questions of this type."""
        types = self.behaviours.get(word)
        return types is not None and (not types or dns.rdatatype.to_text(kind) in types)


class Responder:
    """The server: a thread that lives as long as the `with` block."""

    def __init__(self, table: Mapping[str, Sequence[str]], host: str = "127.0.0.1") -> None:
        self.table = {_name(name): Entry(lines) for name, lines in table.items() if name != "DEFAULT"}
        self.default = Entry(table["DEFAULT"]) if "DEFAULT" in table else None
        self.questions: list[tuple[str, str, str]] = []
        """(name, type, "udp" or "tcp") of each question so far."""
        self.host = host
        self._listener, self._udp = _bind(host)
        self.port: int = self._udp.getsockname()[1]
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def server(self) -> str:
        """This server, as an entry of DNSCACHEIP."""
        return f"{self.host}#{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """The variable that makes our programs ask this server."""
        return {"DNSCACHEIP": self.server}

    def __enter__(self) -> Responder:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.close()
        self._thread.join(10)
        for one in (self._listener, self._udp, self._stopped):
            one.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for one in (self._listener, self._udp, self._stopped):
                selector.register(one, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._stopped:
                        return
                    if key.fileobj is self._udp:
                        self._serve_udp()
                    else:
                        self._serve_tcp()

    def _serve_udp(self) -> None:
        try:
            wire, client = self._udp.recvfrom(65535)
        except OSError:
            return
        for answer in self._answers(wire, "udp"):
            self._udp.sendto(answer, client)

    def _serve_tcp(self) -> None:
        peer, _ = self._listener.accept()
        with peer:
            peer.settimeout(5)
            try:
                (length,) = struct.unpack("!H", _exactly(peer, 2))
                for answer in self._answers(_exactly(peer, length), "tcp"):
                    peer.sendall(struct.pack("!H", len(answer)) + answer)
            except OSError:
                return

    def _answers(self, wire: bytes, way: str) -> list[bytes]:
        """The datagrams (or messages of the stream) that a question gets."""
        question = dns.message.from_wire(wire)
        name, kind = question.question[0].name, question.question[0].rdtype
        self.questions.append((name.to_text(omit_final_dot=True), dns.rdatatype.to_text(kind), way))
        entry = self.table.get(name, self.default)
        answer = dns.message.make_response(question, recursion_available=True)
        if entry is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
            return [answer.to_wire()]
        self._fill(answer, name, kind)
        return _misbehave(entry, kind, question, answer, way)

    def _fill(self, answer: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> None:
        """The records of this type, behind the aliases that lead to them."""
        for _ in range(20):
            entry = self.table.get(name, self.default)
            if entry is None:
                answer.set_rcode(dns.rcode.NXDOMAIN)
                return
            if records := entry.records.get(kind):
                answer.answer.append(dns.rrset.from_rdata_list(name, TTL, records))
                return
            aliases = entry.records.get(dns.rdatatype.CNAME)
            if not aliases:
                return
            answer.answer.append(dns.rrset.from_rdata_list(name, TTL, aliases))
            name = aliases[0].target  # type: ignore[attr-defined]


def _misbehave(
    entry: Entry, kind: dns.rdatatype.RdataType, question: dns.message.Message, answer: dns.message.Message, way: str
) -> list[bytes]:
    """The answer as this entry wants it spoilt."""
    for word in RCODES:
        if entry.behaves(word, kind):
            answer.answer.clear()
            answer.set_rcode(dns.rcode.from_text(word))
    if entry.behaves("LAME", kind):
        answer.answer.clear()
        answer.flags &= ~(dns.flags.AA | dns.flags.RA)
        answer.authority.append(dns.rrset.from_text(".", TTL, "IN", "NS", "a.root-servers.net."))
    wire = answer.to_wire()
    if entry.behaves("DROP", kind) or (entry.behaves("HANGUP", kind) and way == "tcp"):
        return []
    if entry.behaves("GARBAGE", kind):
        return [NOISE]
    if entry.behaves("MALFORMED", kind):
        bare = dns.message.make_response(question, recursion_available=True).to_wire()
        return [bare[:6] + b"\0\1" + bare[8:] + b"\xc0\x0c" + NOISE[12:]]
    if way == "udp" and entry.behaves("CUT", kind):
        return [wire[:2] + bytes((wire[2] | 2,)) + wire[3:-5]]
    if way == "udp" and (len(wire) > MOST_BY_UDP or any(entry.behaves(word, kind) for word in ("TRUNCATE", "HANGUP"))):
        return [_truncated(question)]
    return [*_forgeries(question, wire), wire] if entry.behaves("FORGED", kind) else [wire]


def _truncated(question: dns.message.Message) -> bytes:
    answer = dns.message.make_response(question, recursion_available=True)
    answer.flags |= dns.flags.TC
    return answer.to_wire()


def _forgeries(question: dns.message.Message, wire: bytes) -> list[bytes]:
    """What somebody off the path might try."""
    other_id = bytes((wire[0] ^ 0xFF, wire[1])) + wire[2:]
    other = dns.message.make_response(dns.message.make_query("forged.example", "A", id=question.id))
    other.answer.append(dns.rrset.from_text("forged.example.", TTL, "IN", "A", "203.0.113.66"))
    return [other_id, other.to_wire(), NOISE, b"", wire[:1]]


def _bind(host: str) -> tuple[socket.socket, socket.socket]:
    """A TCP and a UDP socket on one port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.bind((host, 0))
        listener.listen(16)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            udp.bind((host, listener.getsockname()[1]))
            return listener, udp
        except OSError:
            listener.close()
            udp.close()


def _exactly(peer: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        block = peer.recv(length - len(data))
        if not block:
            raise ConnectionResetError
        data += block
    return data
