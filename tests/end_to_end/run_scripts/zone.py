"""What DNS says in the world: a handful of names, served on UDP."""

from __future__ import annotations

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

STRANGER, NAMELESS, LIAR = "127.0.0.4", "127.0.0.5", "127.0.0.6"
"""One whose name leads back to it, one without a name, one whose name is another's."""
RECORDS = {
    ("mail.example.org.", "A"): "127.0.0.1",
    ("localhost.", "A"): "127.0.0.1",
    ("localhost.", "AAAA"): "::1",
    ("named.example.net.", "A"): STRANGER,
    ("1.0.0.127.in-addr.arpa.", "PTR"): "localhost.",
    ("4.0.0.127.in-addr.arpa.", "PTR"): "named.example.net.",
    ("6.0.0.127.in-addr.arpa.", "PTR"): "named.example.net.",
    ("1." + "0." * 31 + "ip6.arpa.", "PTR"): "localhost.",
}


def answer(wire: bytes) -> bytes:
    """The reply to a query; a name that nobody knows does not exist."""
    query = dns.message.from_wire(wire)
    reply = dns.message.make_response(query, recursion_available=True)
    question = query.question[0]
    name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
    if (name, kind) in RECORDS:
        reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, RECORDS[name, kind]))
    elif name not in {known for known, _ in RECORDS}:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    return reply.to_wire()
