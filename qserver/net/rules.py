"""Which rule of a rules file (made by tcprules) speaks of a connection: the order of ucspi 3.4."""

from __future__ import annotations

import os

from qserver.base.cdb import LIMIT, Cdb, hash_of
from qserver.net.addresses import expand, network_key, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DENY = b"D"
SETTING = b"+"
NETWORKS_4 = b"_"
NETWORKS_6 = b"^"

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

    __slots__ = ("_cdb", "_lengths")

    def __init__(self, cdb: Cdb) -> None:
        """Read once which prefix lengths occur, so that a look-up tries only those. Raises OSError."""
        self._cdb = cdb
        self._lengths = {NETWORKS_4: 0, NETWORKS_6: 0}
        for key, _ in cdb.records():
            if key[:1] in self._lengths:
                self._lengths[key[:1]] |= 1 << (len(key) - 1)

    def find(self, ip: str, host: str | None, info: str | None) -> tuple[bytes, bytes] | None:
        """(key, data) of the first rule that speaks of this peer; None: no rule does.

        `ip` is the peer's address as printed, `host` and `info` its name and ident answer, None where unknown.
        """
        packed = parse(ip)
        address = _address_key(ip, packed)
        name = None if host is None else b"=" + os.fsencode(host)
        for key in _most_exact(address, name, None if info is None else os.fsencode(info) + b"@"):
            data = self._cdb.get(key)
            if data is not None:
                return key, data
        found = self._network(packed) if packed is not None else None
        if found is not None:
            return found
        for key in _broadest(name):
            data = self._cdb.get(key)
            if data is not None:
                return key, data
        return None

    def _network(self, packed: bytes) -> tuple[bytes, bytes] | None:
        """The longest network that the address is in; hashes grow with their keys."""
        kind = NETWORKS_4 if len(packed) == 4 else NETWORKS_6
        lengths = self._lengths[kind] >> 1
        if not lengths:
            return None
        key = network_key(packed)
        hashes = [(0, hash_of(kind))]
        h = hashes[0][1]
        for at in range(1, len(key)):
            h = (h * 33 & LIMIT) ^ key[at]
            if lengths & 1:
                hashes.append((at + 1, h))
            lengths >>= 1
        for size, h in reversed(hashes[1:]):
            data = self._cdb.find(key[:size], h)
            if data is not None:
                return key[:size], data
        return None


def _address_key(ip: str, packed: bytes | None) -> bytes:
    """The address as a key: expanded if it is IPv6, of the IPv4 address if that is mapped, else as it stands."""
    if packed is None:
        return os.fsencode(ip)
    if len(packed) == 16:
        return expand(packed)
    return os.fsencode(ip) if ":" not in ip else b"%d.%d.%d.%d" % tuple(packed)


def _most_exact(address: bytes, name: bytes | None, user: bytes | None) -> Iterator[bytes]:
    """Keys 1 to 5: user@address, user@=name, the address, =name, prefixes of an IPv4 address that end in a dot."""
    if user is not None:
        yield user + address
        if name is not None:
            yield user + name
    yield address
    if name is not None:
        yield name
    if b":" in address:
        return
    end = address.rfind(b".")
    while end >= 0:
        yield address[: end + 1]
        end = address.rfind(b".", 0, end)


def _broadest(name: bytes | None) -> Iterator[bytes]:
    """Keys 7 to 9: = and the domains the name is in, = alone, nothing."""
    if name is not None:
        dot = name.find(b".")
        while dot >= 0:
            yield b"=" + name[dot:]
            dot = name.find(b".", dot + 1)
        yield b"="
    yield b""


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
