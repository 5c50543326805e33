"""tai64n and tai64nlocal: streams cut anywhere, time zones, and Debian's programs beside ours."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qserver.base import tai64n
from qserver.log.localtime import LocalTimes
from qserver.log.stamps import before_lines
from tests.log.test_feed import blocks
from tests.log.test_multilog import lines_until
from tests.support import environment, ours, peer, run, spawn

CUTS = st.lists(st.integers(0, 10**6), max_size=6)
EXAMPLE = b"@400000003b4a39c23294b13c fatal\n"
READABLE = b"2001-07-09 23:09:44.848605500 fatal\n"


@given(st.lists(st.sampled_from([b"a", b"\n", b"xyz\n", b"\0\xff"]), max_size=12).map(b"".join), CUTS)
def test_stamps_come_before_lines_only(data: bytes, cuts: list[int]) -> None:
    out = b""
    within = False
    for block in blocks(data, cuts):
        out += before_lines(b"STAMP ", block, within_line=within)
        within = not block.endswith(b"\n")
    lines = data.split(b"\n")
    expected = b"\n".join(b"STAMP " + line for line in lines[:-1]) + b"\n" * (len(lines) > 1)
    assert out == expected + (b"STAMP " + lines[-1] if lines[-1] else b"")


@pytest.mark.parametrize("data", [b"", b"one\n", b"one\n\ntwo", b"\0\xff\n\n", b"x" * 200000 + b"\ny"])
def test_tai64n(data: bytes) -> None:
    before = tai64n.now()
    theirs, mine = (run([program], input=data) for program in (peer("tai64n"), ours("tai64n")))
    after = tai64n.now()
    assert (mine.returncode, mine.stderr) == (0, b"")
    theirs_lines, mine_lines = theirs.stdout.split(b"\n"), mine.stdout.split(b"\n")
    assert [line[25:] for line in mine_lines] == [line[25:] for line in theirs_lines]
    assert all(before <= tai64n.parse_label(line[:25]) <= after for line in mine_lines if line)


@pytest.mark.parametrize("name", ["tai64n", "tai64nlocal"])
@pytest.mark.parametrize("redirection", ["<&-", "0>/dev/null", ">/dev/full"])
def test_trouble_with_input_or_output(name: str, redirection: str) -> None:
    for program in (peer(name), ours(name)):
        done = run(["/bin/sh", "-c", f"exec {program} {redirection}"], input=b"one\n")
        assert (done.returncode, done.stderr) == (111, b"")


@pytest.mark.parametrize("name", ["tai64n", "tai64nlocal"])
def test_what_was_read_is_written_before_waiting(name: str) -> None:
    with spawn([ours(name)], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in (EXAMPLE, b"more\n"):
            os.write(process.stdin.fileno(), text)
            assert lines_until(process.stdout.fileno(), 1).endswith(text[-6:])
        os.write(process.stdin.fileno(), b"partial")
        assert os.read(process.stdout.fileno(), 100).endswith(b"partial")


def convert(data: bytes, cuts: list[int]) -> bytes:
    times = LocalTimes()
    return b"".join(times.convert(block) for block in blocks(data, cuts))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (EXAMPLE, READABLE),
        (b"@400000003b4a39c2ffffffff x\n", b"2001-07-09 23:09:44.4294967295 x\n"),
        (b"@400000003b4a39c20000000a\n", b"2001-07-09 23:09:44.000000010\n"),
        (b"@00400000003b4a39c23294b13c x\n", b"2001-07-09 23:09:44.848605500 x\n"),
        (b"@fff400000003b4a39c23294b13c x\n", b"2001-07-09 23:09:44.848605500 x\n"),
        (b"@400000003b4a39C23294b13c x\n", b"@400000003b4a39C23294b13c x\n"),
        (b"x@400000003b4a39c23294b13c x\n", b"x@400000003b4a39c23294b13c x\n"),
        (b"@\n", b"@\n"),
        (b"@ x\n", b"@ x\n"),
        (b"@12 x\n", b"@12 x\n"),
        (b"@400000003b4a39c2\n", b"@400000003b4a39c2\n"),
        (b"@4000000000000000000000000 \n", b"@4000000000000000000000000 \n"),
        (b"", b""),
        (b"@400000003b4a39c23294b13c", b""),
        (b"@400000003b4a39c23294b13c ", b"2001-07-09 23:09:44.848605500 "),
        (b"\n\n", b"\n\n"),
    ],
)
def test_tai64nlocal(line: bytes, expected: bytes) -> None:
    done = run([ours("tai64nlocal")], input=b"first\n" + line)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"first\n" + expected, b"")
    assert convert(EXAMPLE + line, []).partition(b"\n")[2] == convert(line, [])


SECONDS = st.integers(0, 2**33) | st.integers(-(2**35), 2**35)
LABEL = st.builds(lambda s, ns: b"@%016x%08x" % (s + tai64n.EPOCH, ns), SECONDS, st.integers(0, 2**32 - 1))
ODD_LABEL = st.builds(lambda zeros, label: b"@" + b"0" * zeros + label[1:], st.integers(0, 20), LABEL)
REST = st.sampled_from([b" text", b"", b"@400000003b4a39c23294b13c", b" \0\xff", b"G", b"A", b" " + b"x" * 3000])
LINE = st.builds(lambda *parts: b"".join(parts), LABEL | ODD_LABEL | st.sampled_from([b"", b"x"]), REST)
USUAL_LINE = st.builds(lambda label, rest: label + rest, LABEL, st.just(b" text"))
STREAM = st.lists(LINE, max_size=8) | st.lists(USUAL_LINE, max_size=8)


@settings(max_examples=40, deadline=None)
@given(STREAM, st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "XYZ-3:30"]), st.booleans())
def test_tai64nlocal_is_the_c_programs(lines: list[bytes], zone: str, newline: bool) -> None:
    data = b"\n".join(lines) + b"\n" * newline
    theirs, mine = (run([p], input=data, env=environment(TZ=zone)) for p in (peer("tai64nlocal"), ours("tai64nlocal")))
    assert mine.stdout == theirs.stdout
    assert (mine.returncode, mine.stderr) == (theirs.returncode, theirs.stderr)


@given(STREAM, CUTS)
def test_tai64nlocal_does_not_mind_where_the_stream_is_cut(lines: list[bytes], cuts: list[int]) -> None:
    data = b"\n".join(lines)
    assert convert(data, cuts) == convert(data, [])


def test_more_seconds_than_are_kept() -> None:
    data = b"".join(tai64n.label(second * 10**9) + b" x\n" for second in range(10**9, 10**9 + 10000))
    theirs, mine = (run([p], input=data) for p in (peer("tai64nlocal"), ours("tai64nlocal")))
    assert mine.stdout == theirs.stdout


def test_digits_without_end_are_not_held_for_ever() -> None:
    times = LocalTimes()
    out = times.convert(b"@") + b"".join(times.convert(b"0" * 65536) for _ in range(64))
    assert len(out) > 1 << 21
    assert times.convert(b" x\n" + EXAMPLE).endswith(b" x\n" + READABLE)


def test_the_zone_set_by_a_link_of_the_chain_counts(tmp_path: Path) -> None:
    (tmp_path / "TZ").write_text("America/St_Johns")
    done = run([ours("envdir"), str(tmp_path), "tai64nlocal"], input=EXAMPLE)
    assert done.stdout == b"2001-07-09 20:39:44.848605500 fatal\n"


def test_tai64nlocal_reads_our_multilog_and_cs_reads_it_too(tmp_path: Path) -> None:
    run([ours("multilog"), "t", "./d"], input=b"one\ntwo\n", cwd=tmp_path)
    data = (tmp_path / "d" / "current").read_bytes()
    theirs, mine = (run([p], input=data) for p in (peer("tai64nlocal"), ours("tai64nlocal")))
    assert mine.stdout == theirs.stdout
    assert mine.stdout.count(b"\n20") == 1
