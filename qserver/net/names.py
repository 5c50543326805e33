"""Names of addresses, as servers and clients want them: the first PTR, and whether the name leads back."""

from __future__ import annotations

import _socket
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.net.lookup import Resolver


def name_of(resolver: Resolver, ip: str) -> str | None:
    """The first name of an address; None where there is none or nobody says."""
    from qserver.net.lookup import DnsTemporary

    try:
        names = resolver.ptr(ip)
    except DnsTemporary:
        return None
    return os.fsdecode(names[0]) if names else None


def has_address(resolver: Resolver, name: str, ip: str) -> bool:
    """Whether the address is one of the name's."""
    from qserver.net.addresses import parse
    from qserver.net.lookup import DnsTemporary

    try:
        found = resolver.addresses(name, _socket.AF_INET6 if ":" in ip else _socket.AF_INET)
    except DnsTemporary:
        return False
    return parse(ip) in map(parse, found)
