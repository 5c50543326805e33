"""Which mailbox a login opens: that of deliveries to the same address (access 4.3)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qmail.auth.mailbox import MailboxTrouble, find_mailbox
from qserver.base.cdb import write_cdb

CONTROL = {"me": "mail.example.org", "locals": "example.org", "virtualdomains": "virtual.example:joe\nexcept.example:\n"}
USERS = [
    (b"!ann\0", b"ann\x001001\x001002\0/home/ann\0\0"),
    (b"!joe-info\0", b"joe\x001003\x001003\0/home/joe\0-\0info"),
    (b"!list-", b"joe\x001003\x001003\0/home/joe\0-\0"),
    (b"!root\0", b"root\x000\x000\0/root\0\0"),
    (b"!short\0", b"x\x001"),
    (b"", b"-"),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("control", "users"):
        (tmp_path / name).mkdir()
    for name, text in CONTROL.items():
        (tmp_path / "control" / name).write_text(text + "\n")
    path = str(tmp_path / "users/cdb")
    write_cdb(path, path + ".tmp", USERS)
    return tmp_path


@pytest.mark.parametrize(
    ("login", "directory", "uid", "gid"),
    [
        (b"ann", "/home/ann", 1001, 1002),
        (b"Ann@Example.ORG", "/home/ann", 1001, 1002),
        (b"info@virtual.example", "/home/joe", 1003, 1003),
        (b"list-any@example.org", "/home/joe", 1003, 1003),
    ],
)
def test_root_becomes_the_assigned_user(
    home: Path, monkeypatch: pytest.MonkeyPatch, login: bytes, directory: str, uid: int, gid: int
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = find_mailbox(login, str(home))
    assert found is not None
    assert (found.user, found.home, found.uid, found.gid) == (login, directory, uid, gid)


def test_anyone_else_only_changes_the_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 500)
    found = find_mailbox(b"ann@example.org", str(home))
    assert found is not None
    assert (found.home, found.uid, found.gid) == ("/home/ann", None, None)
    assert found.is_current


@pytest.mark.parametrize(
    "login", [b"nobody", b"nobody@example.org", b"ann@elsewhere.example", b"info@except.example", b"", b"@example.org"]
)
def test_no_assignment_changes_nothing(home: Path, login: bytes) -> None:
    assert find_mailbox(login, str(home)) is None


def test_no_data_base_changes_nothing(home: Path) -> None:
    os.unlink(home / "users/cdb")
    assert find_mailbox(b"ann", str(home)) is None


@pytest.mark.parametrize("login", [b"root", b"short", b"root@example.org"])
def test_root_and_broken_records_are_trouble(home: Path, monkeypatch: pytest.MonkeyPatch, login: bytes) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(MailboxTrouble):
        find_mailbox(login, str(home))


def test_broken_data_base_is_trouble(home: Path) -> None:
    (home / "users/cdb").write_bytes(b"x")
    with pytest.raises(MailboxTrouble):
        find_mailbox(b"ann", str(home))


def test_unreadable_control_is_trouble(home: Path) -> None:
    os.unlink(home / "control/locals")
    (home / "control/locals").mkdir()
    with pytest.raises(MailboxTrouble):
        find_mailbox(b"ann@example.org", str(home))
