"""Whether a name a client gave exists in the DNS: yes, no (hard), or nobody knows (soft)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qmail.smtpd.session import Lookups

FOUND, HARD, SOFT = range(3)


def _asked(question: Callable[[], bool]) -> int:
    from qserver.net.lookup import DnsTemporary

    try:
        return FOUND if question() else HARD
    except DnsTemporary:
        return SOFT


def has_address(resolver: Lookups, name: bytes) -> int:
    """Whether the name has an A or AAAA record."""
    host = os.fsdecode(name.rstrip(b" "))
    return _asked(lambda: bool(host and resolver.addresses(host)))


def has_mail_host(resolver: Lookups, name: bytes) -> int:
    """Whether mail to the name would go somewhere: it has an MX, or else an A or AAAA record (RFC 5321 5.1)."""
    host = os.fsdecode(name.rstrip(b" "))
    return _asked(lambda: bool(host and (resolver.mx(host) or resolver.addresses(host))))
