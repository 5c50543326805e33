"""From a host or a relay to the addresses to try, best first (delivery 8.2, RFC 5321 5.1)."""

from __future__ import annotations

import os

from qserver.net.lookup import DnsTemporary, Resolver

from qmail.ipme import canonical, interface_addresses
from qmail.remote.reports import LOOP, NO_EXCHANGER, Verdict, host_not_found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

Exchanger = tuple[int, str]
"""Preference (smaller is better) and address."""
UNSPECIFIED = ("0.0.0.0", "::", "::1")


def literal(host: bytes) -> str | None:
    """The address in `[1.2.3.4]`, `[2001:db8::1]`, `[IPv6:…]` or a bare address; None for a name."""
    text = host.decode("latin-1")
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
        if text[:5].lower() == "ipv6:":
            text = text[5:]
    address, percent, interface = text.partition("%")
    known = canonical(address)
    return None if known is None else known + percent + interface


def relay_addresses(relay: bytes, resolver: Resolver) -> list[str]:
    """The addresses of a relay named in a route: A and AAAA only, and never held to be ourselves. Raises Verdict."""
    known = literal(relay)
    if known is not None:
        return [known]
    return _in_order((0, ip) for ip in _addresses(relay, relay, resolver))


def host_addresses(host: bytes, resolver: Resolver) -> list[str]:
    """The addresses of a host's exchangers that are better than ourselves. Raises Verdict."""
    known = literal(host)
    if known is not None:
        return [known]
    return _in_order(_without_us(_exchangers(host, resolver)))


def _exchangers(host: bytes, resolver: Resolver) -> list[Exchanger]:
    try:
        records = resolver.mx(os.fsdecode(host))
    except DnsTemporary:
        raise host_not_found(host, temporary=True) from None
    if not records:
        return [(0, ip) for ip in _addresses(host, host, resolver)]
    if len(records) == 1 and records[0][1] in (b"", b"."):  # RFC 7505
        raise Verdict(NO_EXCHANGER)
    found: list[Exchanger] = []
    unsure = False
    for preference, name in records:
        try:
            found += [(preference, ip) for ip in resolver.addresses(os.fsdecode(name))]
        except DnsTemporary:
            unsure = True
    if not found:
        raise host_not_found(host, temporary=True) if unsure else Verdict(NO_EXCHANGER)
    return found


def _addresses(name: bytes, host: bytes, resolver: Resolver) -> list[str]:
    """A and AAAA of a name; none is a permanent failure of `host`. Raises Verdict."""
    try:
        found = resolver.addresses(os.fsdecode(name))
    except DnsTemporary:
        raise host_not_found(host, temporary=True) from None
    if not found:
        raise host_not_found(host, temporary=False)
    return found


def _without_us(found: list[Exchanger]) -> list[Exchanger]:
    """Those better than the best exchanger that is this machine. Raises Verdict when that leaves none."""
    ours = interface_addresses()
    mine = [preference for preference, ip in found if _is_ours(ip, ours)]
    if not mine:
        return found
    best = min(mine)
    rest = [entry for entry in found if entry[0] < best]
    if not rest:
        raise Verdict(LOOP)
    return rest


def _is_ours(ip: str, ours: frozenset[str]) -> bool:
    return ip in ours or ip in UNSPECIFIED or ip.startswith("127.")


def _in_order(found: Iterable[Exchanger]) -> list[str]:
    """The addresses by preference, equals shuffled, each once."""
    shuffled = sorted(found, key=lambda entry: (entry[0], os.urandom(4)))
    return list(dict.fromkeys(ip for _, ip in shuffled))
