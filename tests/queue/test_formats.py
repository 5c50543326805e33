"""Names, records, envelopes and result texts: what stands on the disk and on the wire, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.queue.codes import QueueError, result_text
from qmail.queue.envelope import EnvelopeReader
from qmail.queue.names import Names, format_todo, numbers, parse_todo, split_of


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("mess", "mess/17/40"), ("intd", "intd/17/40"), ("todo", "todo/17/40"), ("info", "info/17/40"),
        ("local", "local/17/40"), ("remote", "remote/17/40"), ("bounce", "bounce/40"),
    ],
)  # fmt: skip
def test_names(kind: str, path: str) -> None:
    names = Names(23)
    assert names.path(kind, 40) == path
    assert getattr(names, kind)(40) == path


def test_the_split_is_what_is_on_disk(home: Path) -> None:
    assert split_of(f"{home}/queue") == 23
    (home / "queue" / "mess" / "23").mkdir()
    assert split_of(f"{home}/queue") == 24


def test_a_foreign_directory_is_no_part_of_the_split(home: Path) -> None:
    (home / "queue" / "mess" / "lost+found").mkdir()
    assert split_of(f"{home}/queue") == 23


def test_numbers_skips_what_is_no_id(tmp_path: Path) -> None:
    for name in ("12", "007", "x", "1a", "-3", "٣", ".1"):
        (tmp_path / name).touch()
    assert sorted(numbers(str(tmp_path))) == [7, 12]


def test_format_todo() -> None:
    record = format_todo(0, 4711, b"a@x.org", [b"b@y.org", b"c@z.org"])
    assert record == b"u0\0p4711\0Fa@x.org\0Tb@y.org\0Tc@z.org\0"
    assert format_todo(1, 2, b"", []) == b"u1\0p2\0F\0"


ADDRESS = st.binary(max_size=40).map(lambda data: data.replace(b"\0", b""))


@given(st.integers(0, 2**32), st.integers(1, 2**22), ADDRESS, st.lists(ADDRESS, max_size=5))
def test_todo_round_trip(uid: int, pid: int, sender: bytes, recipients: list[bytes]) -> None:
    envelope = parse_todo(format_todo(uid, pid, sender, recipients))
    assert (envelope.uid, envelope.pid, envelope.sender, envelope.recipients) == (uid, pid, sender, recipients)


@pytest.mark.parametrize("data", [b"u1\0p2\0Fa", b"u1\0X\0", b"ux\0", b"p\0", b"\0"])
def test_bad_todo_records(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"record"):
        parse_todo(data)


def read(data: bytes, size: int) -> tuple[bytes, bool, bool]:
    """(records, whether the envelope is complete, whether it asks for no scanner), fed in blocks."""
    reader = EnvelopeReader()
    records = b""
    for at in range(0, len(data), size):
        if not reader.done:
            records += reader.feed(data[at : at + size])
    return records, reader.done, reader.skip_scanner


ENVELOPES = [
    (b"Fa@b\0Tc@d\0\0", b"Fa@b\0Tc@d\0", True, False),
    (b"F\0\0", b"F\0", True, False),
    (b"Fa\0\0Tnot read\0", b"Fa\0", True, False),
    (b"Fa\0Tb\0Q\0", b"Fa\0Tb\0", True, True),
    (b"Fa\0Tb\0", b"Fa\0Tb\0", False, False),
    (b"Fa\0Tb", b"Fa\0", False, False),
    (b"F", b"", False, False),
    (b"", b"", False, False),
    (b"F" + b"a" * 1002 + b"\0T" + b"b" * 1002 + b"\0\0", b"F" + b"a" * 1002 + b"\0T" + b"b" * 1002 + b"\0", True, False),
]


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
@pytest.mark.parametrize(("data", "records", "complete", "skips"), ENVELOPES)
def test_envelope(data: bytes, records: bytes, complete: bool, skips: bool, size: int) -> None:
    assert read(data, size) == (records, complete, skips)


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\0", 91), (b"Ta\0", 91), (b"u0\0", 91), (b"Q", 91), (b"Fa\0Fb\0", 91), (b"Fa\0u0\0", 91), (b"Fa\0Tb\0x", 91),
        (b"F" + b"a" * 1003 + b"\0", 11), (b"Fa\0T" + b"b" * 1003 + b"\0", 11), (b"Fa\0T" + b"b" * 5000, 11),
    ],
)  # fmt: skip
def test_bad_envelope(data: bytes, code: int, size: int) -> None:
    with pytest.raises(QueueError) as error:
        read(data, size)
    assert error.value.code == code


@given(st.lists(st.sampled_from([b"F", b"T", b"\0", b"Q", b"a@b"]), max_size=12).map(b"".join), st.integers(1, 5))
def test_the_size_of_the_blocks_does_not_matter(data: bytes, size: int) -> None:
    def outcome(size: int) -> object:
        try:
            return read(data, size)
        except QueueError as error:
            return error.code

    assert outcome(size) == outcome(1000)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, b""), (11, b"Denvelope address too long for qq (#5.1.3)"), (115, b"Denvelope address too long for qq (#5.1.3)"),
        (31, b"Dmail server permanently rejected message (#5.3.0)"), (32, b"Vmail server does not accept message (#5.3.0)"),
        (33, b"Smail server does not accept message (#5.3.0)"), (34, b"Amail server does not accept message (#5.3.0)"),
        (51, b"Zqq out of memory (#4.3.0)"), (52, b"Zqq timeout (#4.3.0)"), (53, b"Zqq write error or disk full (#4.3.0)"),
        (54, b"Zqq read error (#4.3.0)"), (55, b"Zqq unable to read configuration (#4.3.0)"),
        (56, b"Zqq trouble making network connection (#4.3.0)"), (61, b"Zqq trouble in home directory (#4.3.0)"),
        *[(code, b"Zqq trouble creating files in queue (#4.3.0)") for code in range(62, 67)],
        (71, b"Zmail server temporarily rejected message (#4.3.0)"), (72, b"Zconnection to mail server timed out (#4.4.1)"),
        (73, b"Zconnection to mail server rejected (#4.4.1)"), (74, b"Zcommunication with mail server failed (#4.4.2)"),
        (81, b"Zqq internal bug (#4.3.0)"), (91, b"Zqq internal bug (#4.3.0)"), (120, b"Zunable to exec qq (#4.3.0)"),
        (-1, b"Zqq crashed (#4.3.0)"), (-2, b"Zqq waitpid surprise (#4.3.0)"),
        (12, b"Dqq permanent problem (#5.3.0)"), (40, b"Dqq permanent problem (#5.3.0)"),
        (10, b"Zqq temporary problem (#4.3.0)"), (41, b"Zqq temporary problem (#4.3.0)"),
        (111, b"Zqq temporary problem (#4.3.0)"),
    ],
)  # fmt: skip
def test_result_text(code: int, text: bytes) -> None:
    assert result_text(code) == text
