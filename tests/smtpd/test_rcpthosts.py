"""rcpthosts, morercpthosts.cdb, and what happens when they cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmail.smtpd.policy.recipient import domains
from qserver.base.cdb import write_cdb
from tests.smtpd.fakes import FakeWorld, dialogue

MAIL = b"MAIL FROM:<a@b.c>\r\n"


@pytest.mark.parametrize(
    ("host", "names"),
    [
        (b"heaven.af.mil", [b"heaven.af.mil", b".af.mil", b".mil"]),
        (b"localhost", [b"localhost"]),
        (b".x.y", [b".x.y", b".y"]),
        (b"", [b""]),
    ],
)
def test_domains(host: bytes, names: list[bytes]) -> None:
    assert list(domains(host)) == names


@pytest.mark.parametrize(
    ("host", "code"),
    [
        (b"example.org", b"250"),
        (b"More.Example.NET", b"250"),
        (b"deep.below.net", b"250"),
        (b"below.net", b"553"),
        (b"example.net", b"553"),
    ],
)
def test_morercpthosts(tmp_path: Path, host: bytes, code: bytes) -> None:
    talk = dialogue(tmp_path, FakeWorld())
    path = tmp_path / "control" / "morercpthosts.cdb"
    write_cdb(str(path), str(path) + ".tmp", [(b"more.example.net", b""), (b".below.net", b"")])
    assert talk.feed(MAIL + b"RCPT TO:<x@" + host + b">\r\n")[8:11] == code


def test_morercpthosts_counts_only_beside_rcpthosts(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "morercpthosts.cdb").write_bytes(b"no cdb")
    talk = dialogue(tmp_path, FakeWorld(), control={"rcpthosts": None})
    assert talk.feed(MAIL + b"RCPT TO:<x@anywhere.net>\r\n") == b"250 ok\r\n" * 2


@pytest.mark.parametrize("contents", [b"", b"short", b"\xff" * 2048 + b"x"])
def test_broken_cdb_ends_the_session(tmp_path: Path, contents: bytes) -> None:
    talk = dialogue(tmp_path, FakeWorld())
    (tmp_path / "control" / "morercpthosts.cdb").write_bytes(contents)
    replies = talk.feed(MAIL + b"RCPT TO:<x@other.net>\r\nNOOP\r\n")
    assert replies == b"250 ok\r\n421 unable to read controls (#4.3.0)\r\n"
    assert talk.code == 1
