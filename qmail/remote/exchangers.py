"""From a host or a relay to the addresses to try, best first (delivery 8.2, RFC 5321 5.1)."""

from __future__ import annotations

import os

from qmail.ipme import canonical, interface_addresses
from qmail.remote.reports import LOOP, NO_EXCHANGER, Verdict, host_not_found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeVar

    from qserver.net.lookup import Resolver

    T = TypeVar("T")

Exchanger = tuple[int, str]
"""Preference (smaller is better) and address."""
UNKNOWN = ""
"""The address of an exchanger that the DNS did not tell in time: it may be better than we are."""
UNSPECIFIED = ("0.0.0.0", "::", "::1")


class Unsure(Exception):
    """The DNS gave no answer in time; asking later may help."""


class Names:
    """The DNS, asked (and its client imported) only when there is a name to look up."""

    __slots__ = ("_env", "_resolver")

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._resolver: Resolver | None = None

    def mx(self, host: bytes) -> list[tuple[int, bytes]]:
        """(preference, name) of the MX records. Raises Unsure."""
        return self._ask(lambda resolver: resolver.mx(os.fsdecode(host)))

    def addresses(self, name: bytes) -> list[str]:
        """The A and AAAA records. Raises Unsure."""
        return self._ask(lambda resolver: resolver.addresses(os.fsdecode(name)))

    def _ask(self, question: Callable[[Resolver], T]) -> T:
        from qserver.net.lookup import DnsTemporary, Resolver

        if self._resolver is None:
            self._resolver = Resolver(self._env)
        try:
            return question(self._resolver)
        except DnsTemporary as error:
            raise Unsure from error


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


def relay_addresses(relay: bytes, names: Names) -> list[str]:
    """The addresses of a relay named in a route: A and AAAA only, and never held to be ourselves. Raises Verdict."""
    known = literal(relay)
    if known is not None:
        return [known]
    return _in_order((0, ip) for ip in _addresses(relay, names))


def host_addresses(host: bytes, names: Names) -> list[str]:
    """The addresses of a host's exchangers that are better than ourselves. Raises Verdict."""
    known = literal(host)
    if known is not None:
        return [known]
    better = _without_us(_exchangers(host, names))
    certain = [entry for entry in better if entry[1] != UNKNOWN]
    if not certain:
        raise host_not_found(host, temporary=True) if better else Verdict(NO_EXCHANGER)
    return _in_order(certain)


def _exchangers(host: bytes, names: Names) -> list[Exchanger]:
    """The addresses of the MX records, UNKNOWN for those in doubt; without MX records the host's own. Raises Verdict."""
    try:
        records = names.mx(host)
    except Unsure:
        raise host_not_found(host, temporary=True) from None
    if not records:
        return [(0, ip) for ip in _addresses(host, names)]
    if len(records) == 1 and records[0][1] in (b"", b"."):  # RFC 7505
        raise Verdict(NO_EXCHANGER)
    found: list[Exchanger] = []
    for preference, name in records:
        try:
            found += [(preference, ip) for ip in names.addresses(name)]
        except Unsure:
            found.append((preference, UNKNOWN))
    return found


def _addresses(host: bytes, names: Names) -> list[str]:
    """A and AAAA of a host; to have none is a permanent failure. Raises Verdict."""
    try:
        found = names.addresses(host)
    except Unsure:
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
