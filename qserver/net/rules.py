"""Which rule of a rules file (made by tcprules) speaks of a connection: the order of ucspi 3.4."""

from __future__ import annotations

import os

from qserver.base.cdb import EMPTY_HASH, LIMIT, Cdb, hash_of
from qserver.net.addresses import expand, network_key, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DENY = b"D"
SETTING = b"+"
PROXY = b"+PROXY="
NETWORK_4 = b"_"
NETWORK_6 = b"^"
DOT = 0x2E
FILTER = 8
"""Octets of filter for each rule: a key that is not there is seldom (one in ten) looked for in the file."""
HASH_OF_EQUALS = hash_of(b"=")

Stamp = tuple[int, int, int]


class Rule:
    """The rule found: its key as stored, whether it denies, its settings (name, value) in stored order."""

    __slots__ = ("deny", "key", "settings")

    def __init__(self, key: bytes, deny: bool, settings: list[tuple[str, str]]) -> None:
        self.key = key
        self.deny = deny
        self.settings = settings

    def __repr__(self) -> str:
        return f"Rule({self.key!r}, {self.deny}, {self.settings})"


class Rules:
    """A rules file, open. Methods raise OSError where the file is not a cdb."""

    __slots__ = ("_cdb", "_filter", "_mask", "_sizes", "speaks_of_proxies")

    def __init__(self, cdb: Cdb) -> None:
        """See which hashes occur, and which sizes of the keys of networks, so that few keys have to be tried.

        Raises OSError.
        """
        self._cdb = cdb
        hashes = cdb.hashes()
        self._mask = (1 << (FILTER * len(hashes)).bit_length()) - 1
        self._filter = bytearray(self._mask + 1)
        for h in hashes:
            self._filter[h & self._mask] = 1
        self._sizes: dict[bytes, set[int]] = {NETWORK_4: set(), NETWORK_6: set()}
        self.speaks_of_proxies = False
        """A rule has the setting PROXY."""
        for key, data in cdb.records():
            self.speaks_of_proxies |= PROXY in data
            if key[:1] in self._sizes and len(key) > 1:
                self._sizes[key[:1]].add(len(key))

    def find(self, ip: str, host: str | None, info: str | None) -> tuple[bytes, bytes] | None:
        """(key, data) of the first rule that speaks of this peer; None: no rule does.

        `ip` is the peer's address as printed, `host` and `info` its name and ident answer, None where unknown.
        """
        packed = parse(ip)
        name = None if host is None else b"=" + os.fsencode(host)
        user = None if info is None else os.fsencode(info) + b"@"
        for key, h in self._candidates(_address_key(ip, packed), packed, name, user):
            if self._filter[h & self._mask]:
                data = self._cdb.find(key, h)
                if data is not None:
                    return key, data
        return None

    def _candidates(
        self, address: bytes, packed: bytes | None, name: bytes | None, user: bytes | None
    ) -> Iterator[tuple[bytes, int]]:
        """The keys that speak of this peer, with their hashes, in the order of ucspi 3.4."""
        if user is not None:
            yield user + address, hash_of(user + address)
            if name is not None:
                yield user + name, hash_of(user + name)
        prefixes, h = _dotted_prefixes(address)
        yield address, h
        if name is not None:
            yield name, hash_of(name)
        if b":" not in address:
            yield from reversed(prefixes)
        if packed is not None:
            yield from reversed(self._networks(packed))
        if name is not None:
            yield from ((b"=" + domain, hash_of(domain, HASH_OF_EQUALS)) for domain in _domains(name))
            yield b"=", HASH_OF_EQUALS
        yield b"", EMPTY_HASH

    def _networks(self, packed: bytes) -> list[tuple[bytes, int]]:
        """The networks the address is in and their hashes, the largest first, as far as the file may have them."""
        kind = NETWORK_4 if len(packed) == 4 else NETWORK_6
        sizes = self._sizes[kind]
        if not sizes:
            return []
        seen, mask = self._filter, self._mask
        longest = network_key(packed, max(sizes) - 1)
        found = []
        h = EMPTY_HASH
        for size, octet in enumerate(longest, 1):
            h = (h * 33 & LIMIT) ^ octet
            if size in sizes and seen[h & mask]:
                found.append((longest[:size], h))
        return found


def _address_key(ip: str, packed: bytes | None) -> bytes:
    """The address as a key: expanded if it is IPv6, of the IPv4 address if that is mapped, else as it stands."""
    if packed is not None and ":" in ip:
        return expand(packed) if len(packed) == 16 else b"%d.%d.%d.%d" % tuple(packed)
    return os.fsencode(ip)


def _dotted_prefixes(address: bytes) -> tuple[list[tuple[bytes, int]], int]:
    """(prefix, hash) of the prefixes that end in a dot, shortest first, and the hash of the whole."""
    found = []
    h = EMPTY_HASH
    for at, octet in enumerate(address):
        h = (h * 33 & LIMIT) ^ octet
        if octet == DOT:
            found.append((address[: at + 1], h))
    return found, h


def _domains(name: bytes) -> Iterator[bytes]:
    """The suffixes of a name that begin with a dot, longest first."""
    dot = name.find(b".")
    while dot >= 0:
        yield name[dot:]
        dot = name.find(b".", dot + 1)


def items(data: bytes) -> Iterator[bytes]:
    """The items of a rule's data: `D`, `+NAME=value`; each is ended by a NUL, what is not is none."""
    yield from data.split(b"\0")[:-1]


def rule_of(key: bytes, data: bytes) -> Rule:
    """The rule as a server uses it."""
    deny = False
    settings: list[tuple[str, str]] = []
    for item in items(data):
        if item[:1] == DENY:
            deny = True
        elif item[:1] == SETTING:
            name, equals, value = item[1:].partition(b"=")
            if equals:
                settings.append((os.fsdecode(name), os.fsdecode(value)))
    return Rule(key, deny, settings)


_OPEN: dict[str, tuple[Stamp, Rules]] = {}
"""The rules files of this process. Only a cache: whatever is in it is checked against the files at every use."""


def open_rules(path: str) -> Rules:
    """The rules of a file; it is mapped again when it was replaced. Raises OSError."""
    status = os.stat(path)
    stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
    known = _OPEN.get(path)
    if known is None or known[0] != stamp:
        known = _OPEN[path] = (stamp, Rules(Cdb.open(path)))
    return known[1]


def look_up(path: str, ip: str, host: str | None, info: str | None) -> Rule | None:
    """The first rule of the file that speaks of this peer; None: no rule, which allows.

    Raises FileNotFoundError, or another OSError when the file cannot be read or is not a cdb.
    """
    found = open_rules(path).find(ip, host, info)
    return None if found is None else rule_of(*found)
