"""users/assign and what qmail-newu makes of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.local.assign import BadFormat, records
from qmail.local.users import lookup, search
from qserver.base.cdb import Cdb
from tests.support import environment, ours, peer, run

ASSIGN = b"""=Joe:joe:500:501:/home/joe:::
+joe-:joe:500:501:/home/joe:-::
=bill:joe:500:501:/home/joe:-:sub:ignored
+bill-:joe:500:501:/home/joe:-:sub-:
+X.Y:u:1:2:/h:-:e:
+:alias:7790:2108:/var/qmail/alias:-::
xodd:u:1:2:/h:-:e:
.
rubbish after the end
"""
RECORDS = [
    (b"!joe\0", b"joe\x00500\x00501\0/home/joe\0\0"),
    (b"!joe-", b"joe\x00500\x00501\0/home/joe\0-\0"),
    (b"!bill\0", b"joe\x00500\x00501\0/home/joe\0-\0sub"),
    (b"!bill-", b"joe\x00500\x00501\0/home/joe\0-\0sub-"),
    (b"!x.y", b"u\x001\x002\0/h\0-\0e"),
    (b"!", b"alias\x007790\x002108\0/var/qmail/alias\0-\0"),
    (b"!odd\0", b"u\x001\x002\0/h\0-\0e"),
    (b"", b"-Y"),
]
BAD = {
    "empty": b"",
    "no end": b"=a:a:1:2:/:::\n",
    "partial line": b"=a:a:1:2:/:::",
    "blank line": b"\n.\n",
    "no colon": b"=joe\n.\n",
    "colon first": b":a:1:2:/:::\n.\n",
    "five colons": b"=a:a:1:2:/::\n.\n",
    "NUL": b"=a:a\0b:1:2:/:::\n.\n",
    "NUL after the fields": b"=a:a:1:2:/:::\0\n.\n",
}


def lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def test_records() -> None:
    assert list(records(lines(ASSIGN))) == RECORDS


def test_the_end_needs_no_newline() -> None:
    assert list(records([b"."])) == [(b"", b"")]


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_bad_format(data: bytes) -> None:
    with pytest.raises(BadFormat):
        list(records(lines(data)))


@given(st.binary(max_size=80))
def test_whatever_is_in_it_it_is_compiled_or_refused(data: bytes) -> None:
    try:
        found = list(records([line + b"\n" for line in (data + b"\n.").split(b"\n")]))
    except BadFormat:
        return
    assert all(key.startswith(b"!") for key, _ in found[:-1])
    assert all(value.count(b"\0") == 5 for _, value in found[:-1])
    assert search(dict(found).get, b"x") is None or len(found) > 1


def newu(home: Path, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    if data is not None:
        (home / "users/assign").write_bytes(data)
    return run([ours("qmail-newu")], env=environment(QMAILHOME=str(home)))


def test_the_file_is_that_of_a_c_writer(home: Path, tmp_path: Path) -> None:
    program = peer("cdb")
    done = newu(home, ASSIGN)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    text = b"".join(b"+%d,%d:%b->%b\n" % (len(key), len(data), key, data) for key, data in RECORDS) + b"\n"
    subprocess.run([program, "-c", "-t", tmp_path / "tmp", tmp_path / "cdb"], input=text, check=True, timeout=20)
    assert (home / "users/cdb").read_bytes() == (tmp_path / "cdb").read_bytes()
    assert (home / "users/cdb").stat().st_mode & 0o7777 == 0o644
    assert not (home / "users/cdb.tmp").exists()


def test_what_was_assigned_is_found(home: Path) -> None:
    assert newu(home, ASSIGN).returncode == 0
    with Cdb.open(str(home / "users/cdb")) as cdb:
        assert list(cdb.records()) == RECORDS
    found = lookup(str(home), b"Bill-Two", {})
    assert (found.name, found.uid, found.gid, found.dash, found.extension) == (b"joe", 500, 501, b"-", b"sub-Two")
    assert lookup(str(home), b"x.yz", {}).name == b"alias"  # Y was assigned, and only y is ever looked up


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_a_bad_file_leaves_the_data_base_alone(home: Path, data: bytes) -> None:
    (home / "users/cdb").write_bytes(b"as it was")
    done = newu(home, data)
    assert (done.returncode, done.stderr) == (111, b"qmail-newu: fatal: bad format in users/assign\n")
    assert (home / "users/cdb").read_bytes() == b"as it was"


def test_errors(home: Path, tmp_path: Path) -> None:
    assert newu(home).stderr == b"qmail-newu: fatal: unable to open users/assign\n"
    (home / "users/assign").mkdir()
    assert newu(home).stderr == b"qmail-newu: fatal: unable to read users/assign\n"
    (home / "users/assign").rmdir()
    (home / "users/cdb").mkdir()
    (home / "users/cdb/x").touch()
    assert newu(home, ASSIGN).stderr == b"qmail-newu: fatal: unable to move users/cdb.tmp to users/cdb\n"
    os.unlink(home / "users/cdb.tmp")
    (home / "users/cdb.tmp").mkdir()
    done = newu(home, ASSIGN)
    assert (done.returncode, done.stderr) == (111, b"qmail-newu: fatal: unable to open users/cdb.tmp\n")
    os.rmdir(home / "users/cdb.tmp")
    os.symlink("/dev/full", home / "users/cdb.tmp")
    assert newu(home, ASSIGN).stderr == b"qmail-newu: fatal: unable to write users/cdb.tmp\n"
    done = newu(tmp_path / "nowhere")
    assert (done.returncode, done.stderr) == (111, b"qmail-newu: fatal: unable to chdir\n")
