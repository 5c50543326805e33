"""The paragraph of a failed recipient."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.send.bounce import append, paragraph


@pytest.mark.parametrize(
    ("recipient", "report", "text"),
    [
        (b"b@y.org", b"no such user\n", b"<b@y.org>:\nno such user\n\n"),
        (b"b@y.org", b"no newline", b"<b@y.org>:\nno newline\n\n"),
        (b"b@y.org", b"", b"<b@y.org>:\n\n"),
        (b"b@y.org", b"one\n\ntwo\n", b"<b@y.org>:\none\n/two\n\n"),
        (b"b@y.org", b"one\n\n\n\ntwo\n\n", b"<b@y.org>:\none\n///two\n\n\n"),
        (b"b@y.org", b"\nfirst\n", b"<b@y.org>:\n/first\n\n"),
        (b"b\nx@y.org", b"r\n", b"<b_x@y.org>:\nr\n\n"),
    ],
)
def test_paragraph(recipient: bytes, report: bytes, text: bytes) -> None:
    assert paragraph(recipient, report) == text


def by_the_letter(recipient: bytes, report: bytes) -> bytes:
    """The spec's words, one by one."""
    text = bytearray(b"<" + recipient.replace(b"\n", b"_") + b">:\n" + report)
    if text[-1:] != b"\n":
        text += b"\n"
    for at in range(len(text) - 2, 0, -1):
        if text[at] == 10 and text[at - 1] == 10:
            text[at] = ord("/")
    return bytes(text) + b"\n"


@given(report=st.text("a\n", max_size=30))
def test_paragraph_is_what_the_words_say(report: str) -> None:
    assert paragraph(b"r@h", report.encode()) == by_the_letter(b"r@h", report.encode())


def test_append_adds(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "bounce"
    append(str(path), b"one\n", lambda line: None)
    append(str(path), b"two\n", lambda line: None)
    assert path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o600
