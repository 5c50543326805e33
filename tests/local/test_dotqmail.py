"""Which .qmail files an address has, and what their lines mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.local.dotqmail import (
    BLANK,
    COMMENT,
    FORWARD,
    FORWARD_ONLY,
    MAILDIR,
    MBOX,
    PROGRAM,
    candidates,
    instruction,
    owner_files,
    parse,
    safe,
)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("- a-b-c", [".qmail-a-b-c", ".qmail-a-b-default c", ".qmail-a-default b-c", ".qmail-default a-b-c"]),
        ("- a-", [".qmail-a-", ".qmail-a-default ", ".qmail-default a-"]),
        ("- ", [".qmail-", ".qmail-default "]),
        (" ", [".qmail", ".qmaildefault "]),
        ("-/ a-b", [".qmail-/a-b", ".qmail-/a-default b", ".qmail-/default a-b"]),
        ("- A.B", [".qmail-a:b", ".qmail-default A.B"]),
        ("- Default", [".qmail-default Default", ".qmail-default Default"]),
        ("- x-DEFAULT", [".qmail-x-default DEFAULT", ".qmail-x-default DEFAULT", ".qmail-default x-DEFAULT"]),
        ("- ../x", [".qmail-::/x", ".qmail-default ../x"]),
    ],
)
def test_candidates(address: str, expected: list[str]) -> None:
    """dash and ext; file names, those that set it with their $DEFAULT."""
    dash, _, ext = address.encode().partition(b" ")
    pairs = [name.encode().partition(b" ") for name in expected]
    assert candidates(dash, ext) == [(name, default if blank else None) for name, blank, default in pairs]


def test_owner_files() -> None:
    assert owner_files(b"-", b"My.List") == (b".qmail-my:list-owner", b".qmail-my:list-owner-default")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"./Maildir/", (MAILDIR, b"./Maildir/")),
        (b"/var/mail/joe", (MBOX, b"/var/mail/joe")),
        (b".", (MBOX, b".")),
        (b"/", (MAILDIR, b"/")),
        (b"| cat", (PROGRAM, b" cat")),
        (b"|", (PROGRAM, b"")),
        (b"&a@b", (FORWARD, b"a@b")),
        (b"&", (FORWARD, b"")),
        (b"a@b", (FORWARD, b"a@b")),
        (b"joe (comment)", (FORWARD, b"joe (comment)")),
        (b" joe", (FORWARD, b" joe")),
        (b"#", (COMMENT, b"#")),
        (b"+list", (FORWARD_ONLY, b"+list")),
        (b"+lists", (COMMENT, b"+lists")),
        (b"+", (COMMENT, b"+")),
        (b"", (COMMENT, b"")),
        (b"|a\0b", (PROGRAM, b"a")),
        (b"./m\0/", (MAILDIR, b"./m")),
        (b"\0|a", (COMMENT, b"")),
    ],
)
def test_instruction(line: bytes, expected: tuple[int, bytes]) -> None:
    assert instruction(line) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a", [(FORWARD, b"a")]),
        (b"a\n", [(FORWARD, b"a")]),
        (b"a \t \nb\n\nc", [(FORWARD, b"a"), (FORWARD, b"b"), (COMMENT, b""), (FORWARD, b"c")]),
        (b"./Maildir/ \t\n", [(MAILDIR, b"./Maildir/")]),
        (b"+list  \n", [(FORWARD_ONLY, b"+list")]),
        (b"", [(BLANK, b"")]),
        (b"\n", [(BLANK, b"")]),
        (b" \t\na\n", [(BLANK, b""), (FORWARD, b"a")]),
        (b"\0a\nb\n", [(BLANK, b""), (FORWARD, b"b")]),
    ],
)
def test_parse(data: bytes, expected: list[tuple[int, bytes]]) -> None:
    assert parse(data) == expected


@given(st.binary(max_size=200))
def test_whatever_a_file_holds_each_line_is_one_instruction(data: bytes) -> None:
    found = parse(data)
    assert len(found) == data.removesuffix(b"\n").count(b"\n") + 1
    assert all(b"\0" not in argument and b"\n" not in argument for _, argument in found)
    assert all(kind != BLANK for kind, _ in found[1:])


@given(st.binary(max_size=40).filter(lambda ext: b"\0" not in ext))
def test_candidates_end_with_the_default_and_cannot_climb(ext: bytes) -> None:
    found = candidates(b"-", ext)
    assert found[0][0] == b".qmail-" + safe(ext)
    assert found[-1] == (b".qmail-default", ext)
    assert len(found) == 1 + len({name for name, _ in found[1:]})
    for name, default in found:
        assert b".." not in name
        assert default is None or ext.endswith(default)


@given(st.binary(max_size=40))
def test_safe(ext: bytes) -> None:
    assert len(safe(ext)) == len(ext)
    assert safe(safe(ext)) == safe(ext)
    assert b"." not in safe(ext)
