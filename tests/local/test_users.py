"""Whose mail it is: users/cdb, then the user data base as qmail-getpw asks it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.home import Identities
from qmail.local import users
from qmail.local.users import User, UserTrouble, account_user, candidates, lookup, parse, search
from qserver.base.cdb import write_cdb
from qserver.base.privileges import Account
from tests.support import environment, ours, run

RECORDS = {
    b"!joe\0": b"joe\x00500\x00501\0/home/joe\0\0",
    b"!joe-": b"joe\x00500\x00501\0/home/joe\0-\0",
    b"!sub.": b"bob\x007\x008\0/home/bob\0-\0pre-",
    b"!jo": b"never\x001\x001\0/\0\0",
    b"!": b"alias\x007790\x002108\0/var/qmail/alias\0-\0",
    b"": b"-.",
}


def fields(user: User | None) -> tuple[bytes, int, int, bytes, bytes, bytes] | None:
    return None if user is None else (user.name, user.uid, user.gid, user.home, user.dash, user.extension)


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        (b"joe", (b"joe", 500, 501, b"/home/joe", b"", b"")),
        (b"JOE", (b"joe", 500, 501, b"/home/joe", b"", b"")),
        (b"joe-", (b"joe", 500, 501, b"/home/joe", b"-", b"")),
        (b"Joe-List-Owner", (b"joe", 500, 501, b"/home/joe", b"-", b"List-Owner")),
        (b"sub.X.y", (b"bob", 7, 8, b"/home/bob", b"-", b"pre-X.y")),
        (b"jon", (b"alias", 7790, 2108, b"/var/qmail/alias", b"-", b"jon")),
        (b"Other-x", (b"alias", 7790, 2108, b"/var/qmail/alias", b"-", b"Other-x")),
        (b"", (b"alias", 7790, 2108, b"/var/qmail/alias", b"-", b"")),
    ],
)
def test_search(local: bytes, expected: tuple[bytes, int, int, bytes, bytes, bytes]) -> None:
    assert fields(search(RECORDS.get, local)) == expected


def test_search_without_a_catch_all_may_find_nothing() -> None:
    assert search({b"": b"-", b"!joe\0": RECORDS[b"!joe\0"]}.get, b"ann-x") is None


def test_a_data_base_without_wildcard_record_is_trouble() -> None:
    with pytest.raises(UserTrouble) as caught:
        search({b"!joe\0": RECORDS[b"!joe\0"]}.get, b"joe")
    assert caught.value.code == 117


@pytest.mark.parametrize("data", [b"", b"joe", b"joe\x001\x002\0/home\0-", b"joe\x0099999999999\x002\0/home\0-\0"])
def test_a_bad_record_is_a_bug_of_lspawn(data: bytes) -> None:
    with pytest.raises(UserTrouble) as caught:
        parse(data)
    assert caught.value.code == 112


def test_numbers_are_leading_digits() -> None:
    assert fields(parse(b"joe\x0012x\x00x\0/h\0-\0e\0rest")) == (b"joe", 12, 0, b"/h", b"-", b"e")


def test_lookup_in_a_real_cdb(home: Path) -> None:
    write_cdb(str(home / "users/cdb"), str(home / "users/cdb.tmp"), RECORDS.items())
    assert fields(lookup(str(home), b"joe-a", {})) == (b"joe", 500, 501, b"/home/joe", b"-", b"a")


@pytest.mark.parametrize("contents", [b"", b"short", b"\xff" * 4096, None], ids=["empty", "short", "noise", "directory"])
def test_a_bad_cdb_is_trouble(home: Path, contents: bytes | None) -> None:
    if contents is None:
        (home / "users/cdb").mkdir()
    else:
        (home / "users/cdb").write_bytes(contents)
    with pytest.raises(UserTrouble) as caught:
        lookup(str(home), b"joe", {})
    assert caught.value.code == 117


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        (b"joe", [(b"joe", None)]),
        (b"Joe-A-b", [(b"joe-a-b", None), (b"joe-a", b"b"), (b"joe", b"A-b")]),
        (b"joe-", [(b"joe-", None), (b"joe", b"")]),
        (b"-x", [(b"-x", None), (b"", b"x")]),
        (b"", [(b"", None)]),
        (b"x" * 31 + b"-y", [(b"x" * 31, b"y")]),
        (b"x" * 32, []),
    ],
)
def test_candidates(local: bytes, expected: list[tuple[bytes, bytes | None]]) -> None:
    assert candidates(local, b"-") == expected


@given(st.binary(max_size=60))
def test_candidates_are_the_local_part_cut_at_a_break(local: bytes) -> None:
    for name, extension in candidates(local, b"-"):
        assert len(name) < 32
        assert (name if extension is None else name + b"-" + extension.lower()) == local.lower()


OWNER = os.getuid() or 54321
"""A uid that may own a home."""
Accounts = Callable[..., None]


@pytest.fixture
def accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    """Lets a test say which accounts there are; a home is made, and owned by OWNER, unless it is named."""

    def define(**uids: int | OSError) -> None:
        def account(name: str) -> Account | None:
            uid = uids.get(name)
            if isinstance(uid, OSError):
                raise uid
            return None if uid is None else Account(name, uid, 100, str(tmp_path / "homes" / name), "/bin/sh")

        (tmp_path / "homes").mkdir()
        for name in uids:
            (tmp_path / "homes" / name).mkdir()
            if os.getuid() == 0:
                os.chown(tmp_path / "homes" / name, OWNER, -1)
        monkeypatch.setattr(users, "account", account)

    return define


def env_of(home: Path) -> dict[str, str]:
    return {"QMAILHOME": str(home)}


@pytest.mark.parametrize(
    ("local", "name", "dash", "extension"),
    [
        (b"joe", b"joe", b"", b""),
        (b"JOE", b"joe", b"", b""),
        (b"joe-List", b"joe", b"-", b"List"),
        (b"a-b", b"a-b", b"", b""),
        (b"a-b-c", b"a-b", b"-", b"c"),
        (b"ann", b"alias", b"-", b"ann"),
        (b"root", b"alias", b"-", b"root"),
        (b"other", b"alias", b"-", b"other"),
        (b"moved", b"alias", b"-", b"moved"),
        (b"\xff\xfe", b"alias", b"-", b"\xff\xfe"),
        (b"", b"alias", b"-", b""),
    ],
)
def test_getpw(
    home: Path, tmp_path: Path, accounts: Accounts, local: bytes, name: bytes, dash: bytes, extension: bytes
) -> None:
    accounts(**{"joe": OWNER, "a": OWNER, "a-b": OWNER, "alias": 54322, "root": 0, "other": OWNER + 1, "moved": OWNER})
    (tmp_path / "homes/moved").rmdir()
    user = account_user(local, env_of(home))
    assert (user.name, user.dash, user.extension) == (name, dash, extension)
    assert user.home == os.fsencode(tmp_path / "homes") + b"/" + name


def test_getpw_honours_conf_break(home: Path, accounts: Accounts) -> None:
    accounts(joe=OWNER, alias=54322)
    (home / "conf").mkdir()
    (home / "conf/conf-break").write_text("+\n")
    assert fields(account_user(b"joe+x-y", env_of(home)))[4:] == (b"-", b"x-y")  # type: ignore[index]
    assert account_user(b"joe-x", env_of(home)).name == b"alias"


def test_getpw_without_alias_takes_the_queues_owner_where_roles_are_one(home: Path, accounts: Accounts) -> None:
    accounts()
    user = account_user(b"x", env_of(home))
    assert fields(user) == (b"alias", os.getuid(), os.getgid(), os.fsencode(home / "alias"), b"-", b"x")


@pytest.mark.parametrize("missing", ["alias", "queue"])
def test_getpw_without_any_alias(home: Path, accounts: Accounts, missing: str) -> None:
    accounts()
    os.rename(home / missing, home / "elsewhere")
    with pytest.raises(UserTrouble) as caught:
        account_user(b"x", env_of(home))
    assert caught.value.code == 116


def test_getpw_without_alias_where_roles_are_users(home: Path, accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts()
    monkeypatch.setattr(users, "identities", lambda env: Identities(1, 1, True))
    with pytest.raises(UserTrouble) as caught:
        account_user(b"x", env_of(home))
    assert caught.value.code == 116


def test_a_busy_user_data_base(home: Path, accounts: Accounts) -> None:
    accounts(joe=OSError(errno.ETXTBSY, "busy"))
    with pytest.raises(UserTrouble) as caught:
        account_user(b"joe", env_of(home))
    assert caught.value.code == 118


def test_a_home_that_cannot_be_looked_at_now(home: Path, accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts(joe=OWNER)

    def stat(path: object) -> os.stat_result:
        raise OSError(errno.ESTALE, "stale")

    monkeypatch.setattr("qmail.local.users.os.stat", stat)
    with pytest.raises(UserTrouble) as caught:
        account_user(b"joe", env_of(home))
    monkeypatch.undo()
    assert caught.value.code == 115


def test_command(home: Path) -> None:
    env = environment(**env_of(home))
    done = run([ours("qmail-getpw"), "No-Such-User"], env=env)
    expected = b"\0".join((b"%d" % os.getuid(), b"%d" % os.getgid(), os.fsencode(home / "alias"), b"-", b"No-Such-User", b""))
    if users._account("alias") is None and users._account("no") is None:
        assert (done.returncode, done.stdout, done.stderr) == (0, b"alias\0" + expected, b"")
        os.rename(home / "alias", home / "elsewhere")
        assert run([ours("qmail-getpw"), "x"], env=env).returncode == 116
    assert run([ours("qmail-getpw")], env=env).returncode == 100
