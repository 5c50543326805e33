"""Where a header ends, what a field is, and that blocks of any size give the same message."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.inject.fields import is_field, name_of
from qmail.inject.reading import Message

MESSAGES = [
    # input, fields, body
    (b"", [], b""),
    (b"\n", [], b"\n"),
    (b"\nbody\n", [], b"\nbody\n"),
    (b"A: b\n\nbody", [b"A: b\n"], b"\nbody\n"),
    (b"A: b", [b"A: b\n"], b""),
    (b"A: b\n", [b"A: b\n"], b""),
    (b"A: b\n c\n\td\nE:f\n\n", [b"A: b\n c\n\td\n", b"E:f\n"], b"\n"),
    (b" not a continuation\n", [], b"\n not a continuation\n"),
    (b"no field\nA: b\n", [], b"\nno field\nA: b\n"),
    (b"A: b\nno field\n\nx\n", [b"A: b\n"], b"\nno field\n\nx\n"),
    (b"From joe\nA: b\n\nFrom y", [b"MBOX-Line: From joe\n", b"A: b\n"], b"\nFrom y\n"),
    (b"From joe\n x\n", [b"MBOX-Line: From joe\n x\n"], b""),
    (b"A: b\n \n\nx", [b"A: b\n \n"], b"\nx\n"),
    (b"A: b\r\n\r\nx", [b"A: b\r\n"], b"\n\r\nx\n"),
]


def read(data: bytes, size: int) -> tuple[list[bytes], bytes]:
    source = io.BytesIO(data)
    message = Message(lambda: source.read(size))
    return list(message.fields()), b"".join(message.body())


@pytest.mark.parametrize("size", [1, 3, 4096])
@pytest.mark.parametrize(("data", "fields", "body"), MESSAGES)
def test_message(data: bytes, fields: list[bytes], body: bytes, size: int) -> None:
    assert read(data, size) == (fields, body)


@given(st.text("aA: \n\t\rF", max_size=60).map(str.encode), st.integers(1, 20))
def test_the_size_of_the_blocks_does_not_matter(data: bytes, size: int) -> None:
    assert read(data, size) == read(data, 1000)


def test_the_end_is_asked_for_once() -> None:
    answers = iter([b"A: b\nbody", b""])
    message = Message(lambda: next(answers))
    assert list(message.fields()) == [b"A: b\n"]
    assert b"".join(message.body()) == b"\nbody\n"


@pytest.mark.parametrize(
    ("line", "yes"),
    [
        (b"A: b\n", True),
        (b"A:\n", True),
        (b"A \t: b\n", True),
        (b"a!#-~: b\n", True),
        (b":\n", False),
        (b" : x\n", False),
        (b"A\n", False),
        (b"A b: c\n", False),
        (b"caf\xe9: c\n", False),
        (b"A\x7f: c\n", False),
    ],
)
def test_is_field(line: bytes, yes: bool) -> None:
    assert is_field(line) is yes


def test_name_of() -> None:
    assert name_of(b"Resent-TO \t: x\n") == b"resent-to"
