"""cdbmake, cdbdump, cdbget, cdbstats, beside freecdb's and tinycdb's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qserver.net.cdbtext import shown
from tests.support import environment, ours, peer, run

RECORDS = st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=40)), max_size=30)
TEXT = b"+3,5:one->Hello\n+3,2:one->hi\n+0,0:->\n+2,3:\0\n->a\nb\n\n"


def program(who: str, name: str) -> str:
    return ours(name) if who == "ours" else freecdb(name)


def freecdb(name: str) -> str:
    return peer(name)


def make(who: str, text: bytes, place: Path) -> tuple[int, bytes, bytes | None]:
    """Exit code, complaint, and the database."""
    cdb = place / f"{who}.cdb"
    cdb.unlink(missing_ok=True)
    done = run([program(who, "cdbmake"), str(cdb), str(place / "tmp")], input=text)
    assert done.stdout == b""
    return done.returncode, done.stderr, cdb.read_bytes() if cdb.exists() else None


@settings(max_examples=25, deadline=None)
@given(RECORDS)
def test_databases_are_the_same(tmp_path_factory: pytest.TempPathFactory, records: list[tuple[bytes, bytes]]) -> None:
    place = tmp_path_factory.mktemp("cdb")
    text = b"".join(shown(key, data) for key, data in records) + b"\n"
    mine = make("ours", text, place)
    assert mine == make("theirs", text, place)
    assert mine[:2] == (0, b"")
    for who in ("ours", "theirs"):
        with open(place / "ours.cdb", "rb") as cdb:
            dumped = subprocess.run([program(who, "cdbdump")], stdin=cdb, capture_output=True, check=True, timeout=20)
        assert dumped.stdout == text
    done = run([ours("cdbdump")], input=(place / "ours.cdb").read_bytes())
    assert done.stdout == text, "from a pipe"


def test_many_records(tmp_path: Path) -> None:
    text = b"".join(shown(b"key %d" % number, b"data" * (number % 50)) for number in range(20000)) + b"\n"
    assert make("ours", text, tmp_path) == make("theirs", text, tmp_path)
    outputs = []
    for who in ("ours", "theirs"):
        with open(tmp_path / "ours.cdb", "rb") as cdb:
            outputs.append(subprocess.run([program(who, "cdbstats")], stdin=cdb, capture_output=True, timeout=20))
    assert outputs[0].stdout == outputs[1].stdout
    assert outputs[0].stdout.startswith(b"records      20000\n")
    done = run([peer("cdb"), "-d", str(tmp_path / "ours.cdb")])
    assert done.stdout == text


@pytest.mark.parametrize(
    "text",
    [b"", b"\n", b"+3,5:one->Hello\n", b"x", b"+3;", b"+3,5;", b"+3,5:one>Hello\n\n", b"+3,5:one->Hello!\n\n", b"+3,5:on",
     b"+,5:", b"+3x,5:", b"+1,1:a->b\n+1", b"+1,1:a->b\nzz", b"+99999999999,1:a", b"\njunk", b"+", b"+1", b"+ 1,1:a->b\n\n",
     b"+-1,1:a->b\n\n", b"+1,1:a->b"],
)  # fmt: skip
def test_bad_texts(tmp_path: Path, text: bytes) -> None:
    mine, theirs = make("ours", text, tmp_path), make("theirs", text, tmp_path)
    assert mine[0] == theirs[0]
    assert mine[2] == theirs[2]
    assert mine[1].replace(b"end of", b"end if") == theirs[1], "freecdb writes: unexpected end if input"


def test_places_that_are_none(tmp_path: Path) -> None:
    for who in ("ours", "theirs"):
        done = run([program(who, "cdbmake"), "/nowhere/a", "/nowhere/b"], input=b"\n")
        assert (done.returncode, done.stderr) == (111, b"cdbmake: fatal: unable to create /nowhere/b: file does not exist\n")
        (tmp_path / who).mkdir()
        done = run([program(who, "cdbmake"), who, "tmp"], input=b"\n", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (
            111, b"cdbmake: fatal: unable to rename tmp to %s: is a directory\n" % who.encode(),
        )  # fmt: skip


def test_wrong_calls() -> None:
    for words in (["cdbmake"], ["cdbmake", "x"], ["cdbget"]):
        done = run([ours(words[0]), *words[1:]])
        assert done.returncode == 100
        assert b"usage:" in done.stderr


@pytest.mark.parametrize("who", ["ours", "theirs"])
@pytest.mark.parametrize(
    ("words", "code", "data"),
    [(["one"], 0, b"Hello"), (["one", "0"], 0, b"Hello"), (["one", "1"], 0, b"hi"), (["one", "2"], 100, b""), ([""], 0, b""),
     (["two"], 100, b""), (["one", "x"], 0, b"Hello")],
)  # fmt: skip
def test_look_ups(tmp_path: Path, who: str, words: list[str], code: int, data: bytes) -> None:
    make("ours", TEXT, tmp_path)
    with open(tmp_path / "ours.cdb", "rb") as cdb:
        done = subprocess.run([program(who, "cdbget"), *words], stdin=cdb, capture_output=True, timeout=20)
    if who == "theirs" and words in (["one", "x"], [""]):
        assert (done.returncode, done.stdout) == (100, b""), "freecdb takes that for a wrong call"
        return
    assert (done.returncode, done.stdout, done.stderr) == (code, data, b"")


@pytest.mark.parametrize("name", ["cdbdump", "cdbget", "cdbstats"])
@pytest.mark.parametrize("size", [0, 100, 2047, 2048, 2060, -1])
def test_files_that_are_cut_off(tmp_path: Path, name: str, size: int) -> None:
    make("ours", TEXT, tmp_path)
    (tmp_path / "cut").write_bytes((tmp_path / "ours.cdb").read_bytes()[:size])
    results = []
    for who in ("ours", "theirs"):
        with open(tmp_path / "cut", "rb") as cdb:
            words = [program(who, name), *(["one"] if name == "cdbget" else [])]
            done = subprocess.run(words, stdin=cdb, capture_output=True, timeout=20)
        results.append((done.returncode, done.stderr, name != "cdbdump" and done.stdout))
    if (name, size) == ("cdbstats", 2048):  # freecdb says truncated file
        assert results[0] == (111, b"cdbstats: fatal: unable to read input: protocol error\n", b"")
    else:
        assert results[0] == results[1]


def test_input_that_is_no_file(tmp_path: Path) -> None:
    for words in (["cdbget", "x"], ["cdbstats"]):
        done = run([ours(words[0]), *words[1:]], input=b"x" * 3000)
        assert (done.returncode, done.stderr) == (111, b"%s: fatal: unable to read input: protocol error\n" % words[0].encode())
    with open("/dev/full", "wb") as full, open("/dev/null", "rb") as null:
        done = subprocess.run([ours("cdbdump")], stdin=null, stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=20)
    assert (done.returncode, done.stderr) == (111, b"cdbdump: fatal: unable to read input: truncated file\n")
