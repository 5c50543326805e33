"""The message after 354, cut into blocks at every place there is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qmail.smtpd.body import BareLineFeed, Body, HopCounter

BARE = None
LINE_ENDS = (b"\n", b"\r", b"\r\n")
SMUGGLED = b"MAIL FROM:<smuggled@evil.example>\r\n"
MATRIX = [(before, after, then) for before, after, then in itertools.product(LINE_ENDS, LINE_ENDS, (b"", b"\r", b"\n"))]


def byte_by_byte(data: bytes) -> tuple[bytes, bytes | None] | None:
    """What a machine with djb's five states makes of it: (stored, rest), or BARE for a bare line feed."""
    stored = bytearray()
    state = "line"
    for at, byte in enumerate(data):
        char = bytes((byte,))
        if char == b"\n" and state not in ("cr", "dotcr"):
            return BARE
        if state == "dotcr":
            if char == b"\n":
                return bytes(stored), data[at + 1 :]
            stored += b".\r"
            state = "cr" if char == b"\r" else "text"
            if char != b"\r":
                stored += char
        elif state == "cr":
            if char == b"\n":
                stored += b"\n"
                state = "line"
            else:
                stored += b"\r"
                state = "cr" if char == b"\r" else "text"
                if char != b"\r":
                    stored += char
        elif char == b"\r":
            state = "dotcr" if state == "dot" else "cr"
        elif char == b"." and state == "line":
            state = "dot"
        else:
            stored += char
            state = "text"
    return bytes(stored), None


def in_blocks(blocks: list[bytes]) -> tuple[bytes, bytes | None] | None:
    """The same question to Body."""
    body = Body()
    stored = b""
    for number, block in enumerate(blocks):
        try:
            stored += body.feed(block)
        except BareLineFeed:
            return BARE
        if body.rest is not None:
            assert body.size == len(stored)
            return stored, body.rest + b"".join(blocks[number + 1 :])
    assert body.size == len(stored)
    return stored, None


def check_every_split(data: bytes) -> None:
    expected = byte_by_byte(data)
    for cut in range(len(data) + 1):
        assert agree(in_blocks([data[:cut], data[cut:]]), expected), cut
    assert agree(in_blocks([bytes((byte,)) for byte in data]), expected)


def agree(got: tuple[bytes, bytes | None] | None, expected: tuple[bytes, bytes | None] | None) -> bool:
    """Equal; of a message without end, up to four bytes may still be kept back."""
    if got is None or expected is None or expected[1] is not None:
        return got == expected
    return got[1] is None and expected[0].startswith(got[0]) and len(expected[0]) - len(got[0]) <= 4


@pytest.mark.parametrize(("before", "after", "then"), MATRIX)
def test_smuggling(before: bytes, after: bytes, then: bytes) -> None:
    """Only CR LF . CR LF ends a message, whatever a client puts in its place and wherever the network cuts it."""
    data = b"Subject: x\r\n\r\ntext" + before + b"." + after + then + SMUGGLED + b"more\r\n.\r\nQUIT\r\n"
    check_every_split(data)
    got = in_blocks([data])
    if before == b"\r\n" and (after + then).startswith(b"\r\n"):
        assert got is not None
        assert got[0].endswith(b"\ntext\n")
    else:
        assert got is BARE or (SMUGGLED.rstrip() in got[0] and got[1] == b"QUIT\r\n")


@pytest.mark.parametrize(
    ("data", "stored"),
    [
        (b".\r\n", b""),
        (b"..\r\n.\r\n", b".\n"),
        (b".x\r\n.\r\n", b"x\n"),
        (b"\r\n.\r\n", b"\n"),
        (b"x\r\r\n.\r\n", b"x\r\n"),
        (b".\rx\r\n.\r\n", b".\rx\n"),
        (b".\r\r\n.\r\n", b".\r\n"),
        (b"a\r\n..\r\n...\r\n.\r\n", b"a\n.\n..\n"),
        (b"\0\xff\x80\r\n.\r\n", b"\0\xff\x80\n"),
        (b"\r.\r\n.\r\n", b"\r.\n"),
        (b"\r\r\r\n.\r\n", b"\r\r\n"),
    ],
)
def test_stored(data: bytes, stored: bytes) -> None:
    check_every_split(data + b"RSET\r\n")
    assert in_blocks([data + b"RSET\r\n"]) == (stored, b"RSET\r\n")


@pytest.mark.parametrize("data", [b"\n", b".\n", b"a\n.\r\n", b"\r\n.\n\r\n.\r\n", b"x\r\n\n.\r\n"])
def test_bare_line_feed(data: bytes) -> None:
    check_every_split(data)
    assert in_blocks([data]) is BARE


def test_bare_line_feed_after_the_end_is_no_business_of_the_body() -> None:
    assert in_blocks([b"x\r\n.\r\nNOOP\n"]) == (b"x\n", b"NOOP\n")


@given(
    st.lists(st.sampled_from([b"\r\n", b"\r", b".", b"a", b"\r\n.", b"\r\n.\r\n", b"\n"]), max_size=14),
    st.lists(st.integers(0, 40), max_size=4),
)
@example([b".", b"\r", b"\r\n", b".", b"\r\n"], [1, 2])
def test_any_cut_gives_the_same(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    blocks = [data[start:end] for start, end in itertools.pairwise(places)]
    assert agree(in_blocks(blocks), byte_by_byte(data))


HOPS = [
    (b"Received: a\nreceived: b\nDELIVERED-To: c\n\nReceived: d\n", 3),
    (b"Receive: a\n Received: b\nX-Received: c\n\n", 0),
    (b"\nReceived: body\n", 0),
    (b"Received", 1),
    (b"Subject: x\rReceived: y\n\n", 0),
    (b"deliveredreceived\nReceivedreceived\n\n", 2),
]


@pytest.mark.parametrize(("message", "hops"), HOPS)
def test_hops(message: bytes, hops: int) -> None:
    for cut in range(len(message) + 1):
        counter = HopCounter()
        counter.see(message[:cut])
        counter.see(message[cut:])
        assert counter.hops == hops, cut
    counter = HopCounter()
    for byte in message:
        counter.see(bytes((byte,)))
    assert counter.hops == hops


def test_looping_begins_at_a_hundred() -> None:
    counter = HopCounter()
    counter.see(b"Received: x\n" * 99)
    assert not counter.looping
    counter.see(b"Received: x\n")
    assert counter.looping
