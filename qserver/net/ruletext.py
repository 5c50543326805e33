"""Rules as people write them (tcprules' input, ucspi 3) turned into records of a rules file."""

from __future__ import annotations

from qserver.net.addresses import expand, network_key, octets, parse_ipv6
from qserver.net.rules import DENY, SETTING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Records = tuple[list[bytes], list[bytes]]
    """Keys, and the data of each."""

BLANKS = b" \t\n"
VERDICTS = {b"allow": b"", b"deny": DENY + b"\0"}
HIGHEST = 255
BLOCK = 16384
MARKS = bytes(range(5))
"""Octets that plain text does not have."""
MARK, OPENING, CLOSING, DENIED = MARKS[1:2], MARKS[2:3], MARKS[3:4], DENY + MARKS[4:5]
VALUES = ((b'="', OPENING), (b'",', CLOSING + SETTING), (b'"\n', CLOSING + b"\n"))
LONE_VERDICTS = ((b":allow\n", MARK + b"\n"), (b":deny\n", MARK + DENIED + b"\n"))
LEADING_VERDICTS = ((b":allow,", MARK + SETTING), (b":deny,", MARK + DENIED + SETTING))
FINISH = bytes.maketrans(OPENING + CLOSING + DENIED[1:] + b"\n", b"=\0\0" + MARK)
PLAIN = bytes(range(len(MARKS), 256))
NO_SHAPE = bytes(octet for octet in range(256) if octet not in MARK + OPENING + CLOSING + b"=\n")
MOST_EQUALS = 4
"""In a value of the plain kind."""
VERBATIM = b"0123456789.=@_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""An address of these octets alone is stored as it stands."""
WRAP = 1 << 64
"""Numbers are as wide as C's unsigned long."""


class BadRule(Exception):
    """A line that is no rule: `complaint` about `line`, both for the user's eyes."""

    def __init__(self, complaint: str, line: bytes = b"") -> None:
        super().__init__(complaint)
        self.complaint = complaint
        self.line = line


UNPARSABLE = "unable to parse this line: "
BAD_LENGTH = "invalid prefix length on line: "
BAD_IPV6 = "invalid IPv6 address: on line: "
BAD_NETWORK_6 = "invalid IPv6 CIDR address on line: "


def parse(text: bytes) -> Iterator[Records]:
    """The records of a whole file, in order, a block of lines at a time. Raises BadRule at the first line that is no rule."""
    at = 0
    while at < len(text):
        end = text.find(b"\n", at + BLOCK) + 1 or len(text)
        lines = text[at:end]
        yield _parse_plain(lines if lines.endswith(b"\n") else lines + b"\n") or _parse_lines(lines)
        at = end


def _parse_lines(text: bytes) -> Records:
    """Line by line: whatever the lines look like."""
    found = [record for line in text.split(b"\n") for record in parse_line(line)]
    return [key for key, _ in found], [data for _, data in found]


def _parse_plain(text: bytes) -> Records | None:
    """All lines at once, if each is an address, `:allow` or `:deny`, and settings in double quotes; else None.

    Verdicts, the beginnings and the ends of values are replaced wherever they are; what becomes of the lines shows
    whether they were as expected. In the end MARK parts each address from its data.
    """
    if text.translate(None, PLAIN) or (b"#" in text and b"\n#" in b"\n" + text):
        return None
    lines = text.count(b"\n")
    for old, new in VALUES:
        text = text.replace(old, new)
    ends = text.count(CLOSING + b"\n")
    for old, new in LONE_VERDICTS:
        before = len(text)
        text = text.replace(old, new)
        ends += (before - len(text)) // (len(old) - len(new))
    for old, new in LEADING_VERDICTS:
        text = text.replace(old, new)
    if ends != lines or b'"' in text or not _has_shape(text, lines):
        return None
    fields = text.translate(FINISH).split(MARK)
    return _with_keys(fields[0:-1:2], fields[1::2])


def _has_shape(text: bytes, lines: int) -> bool:
    """Whether every line is an address, one MARK, and then values that begin and end in turn."""
    shape = text.translate(None, NO_SHAPE)
    if b"\n" + OPENING in b"\n" + shape.translate(None, b"="):
        return False
    shape = shape.replace(OPENING + CLOSING, b"")
    equals = 1
    while OPENING in shape and equals <= MOST_EQUALS:
        shape = shape.replace(OPENING + b"=" * equals + CLOSING, b"")
        equals += 1
    return shape.replace(b"=" + MARK, MARK) == (MARK + b"\n") * lines


def _with_keys(addresses: list[bytes], data: list[bytes]) -> Records | None:
    """The records of these addresses; None where one of them is not an address."""
    strange = b"".join(addresses).translate(None, VERBATIM)
    if not strange:
        return addresses, data
    if b"," in strange:
        return None
    records: Records = ([], [])
    try:
        for address, its in zip(addresses, data, strict=True):
            found = keys(address) if address.translate(None, VERBATIM) else (address,)
            records[0].extend(found)
            records[1].extend((its,) * len(found))
    except BadRule:
        return None
    return records


def parse_line(line: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (key, data) records of one line, without its newline; none for a comment. Raises BadRule."""
    if line[:1] == b"#":
        return
    line = line.rstrip(BLANKS)
    try:
        comma = line.find(b",")
        colon = line.rfind(b":", 0, comma if comma >= 0 else len(line))
        if colon < 0:
            if comma >= 0:
                raise BadRule(UNPARSABLE)
            return
        data = parse_instruction(line[colon + 1 :])
        for key in keys(line[:colon]):
            yield key, data
    except BadRule as bad:
        bad.line = line
        raise


def parse_instruction(text: bytes) -> bytes:
    """The data of `allow` or `deny` and the settings after it. Raises BadRule."""
    word, _, _ = text.partition(b",")
    if word not in VERDICTS:
        raise BadRule(UNPARSABLE)
    data = VERDICTS[word]
    rest = text[len(word) :]
    while rest:
        if rest[:1] != b",":
            raise BadRule(UNPARSABLE)
        name, _, rest = rest[1:].partition(b"=")
        value, closing, rest = rest[1:].partition(rest[:1]) if rest else (b"", b"", b"")
        if not closing:
            raise BadRule(UNPARSABLE)
        data += SETTING + name + b"=" + value + b"\0"
    return data


def keys(address: bytes) -> list[bytes]:
    """The keys under which the rule for an address is stored (ucspi 3.3). Raises BadRule."""
    if b"=" in address:
        return [address]
    if b"@" in address:
        if b":" not in address or b"/" in address:
            return [address]
        user, at, host = address.partition(b"@")
        return [user + at + _expanded(host)]
    if b":" in address:
        return [_network_6(address) if b"/" in address else _expanded(address)]
    if b"/" in address:
        return [_network_4(address)]
    return _range(address) if b"-" in address else [address]


def _expanded(text: bytes) -> bytes:
    """The key of an IPv6 address. An IPv4 address becomes its mapped form, which no peer ever has."""
    packed = parse_ipv6(text.decode("latin-1") if b":" in text else "::ffff:" + text.decode("latin-1"))
    if packed is None:
        raise BadRule(BAD_IPV6)
    return expand(packed)


def _number(text: bytes, *, empty: int | None = None) -> int:
    """Decimal digits and nothing else. Raises BadRule."""
    if not text and empty is not None:
        return empty
    if not text.isdigit() or len(text) > 1000:
        raise BadRule(UNPARSABLE)
    return int(text) % WRAP


def _network_4(address: bytes) -> bytes:
    """`10.1/16`: what the address lacks is 0."""
    text, _, digits = address.partition(b"/")
    length = _number(digits)
    if not 1 <= length <= 32:
        raise BadRule(BAD_LENGTH)
    numbers = text.decode("latin-1").removesuffix(".").split(".") if text else []
    packed = octets(numbers)
    if packed is None or len(packed) > 4:
        raise BadRule(UNPARSABLE)
    return network_key(packed.ljust(4, b"\0"), length)


def _network_6(address: bytes) -> bytes:
    text, _, digits = address.partition(b"/")
    length = _number(digits)
    if length > 128:
        raise BadRule(BAD_LENGTH)
    packed = parse_ipv6(text.decode("latin-1"))
    if packed is None or length == 0:
        raise BadRule(BAD_NETWORK_6)
    return network_key(packed, length)


def _range(address: bytes) -> list[bytes]:
    """`1.2.3-5.` → `1.2.3.`, `1.2.4.`, `1.2.5.`; nothing where the end is below the beginning."""
    dash = address.index(b"-")
    left = address.rfind(b".", 0, dash) + 1
    right = address.find(b".", dash)
    if right < 0:
        right = len(address)
    bottom = _number(address[left:dash], empty=0)
    top = min(_number(address[dash + 1 : right], empty=0), HIGHEST)
    return [b"%b%d%b" % (address[:left], number, address[right:]) for number in range(bottom, top + 1)]
