"""The lines and variables that are made of qmail-local's arguments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.local.delivery import Delivery, environment, extensions, hosts

NOW = 810276413
words = st.binary(max_size=30).filter(lambda word: b"\0" not in word)


def delivery(sender: bytes = b"s@x.org", local: bytes = b"joe-a-b", host: bytes = b"example.org") -> Delivery:
    return Delivery(b"joe", b"/home/joe", local, b"-", b"a-b", host, sender, b"./Maildir/")


@pytest.mark.parametrize(
    ("sender", "line"),
    [
        (b"s@x.org", b"From s@x.org Tue Sep 05 04:46:53 1995\n"),
        (b"", b"From MAILER-DAEMON Tue Sep 05 04:46:53 1995\n"),
        (b"a b\tc\nd@x", b"From a-b-c-d@x Tue Sep 05 04:46:53 1995\n"),
        (b"#@[]", b"From #@[] Tue Sep 05 04:46:53 1995\n"),
    ],
)
def test_from_line(sender: bytes, line: bytes) -> None:
    assert delivery(sender).from_line(NOW) == line


@pytest.mark.parametrize(
    ("sender", "line"),
    [
        (b"s@x.org", b"Return-Path: <s@x.org>\n"),
        (b"", b"Return-Path: <>\n"),
        (b"joe q@x", b'Return-Path: <"joe q"@x>\n'),
        (b"a\nb@x\ny", b'Return-Path: <"a\\_b"@x_y>\n'),
        (b"nohost", b"Return-Path: <nohost>\n"),
    ],
)
def test_return_path(sender: bytes, line: bytes) -> None:
    assert delivery(sender).return_path() == line


def test_delivered_to() -> None:
    assert delivery().delivered_to() == b"Delivered-To: joe-a-b@example.org\n"
    assert delivery(local=b"a\nb", host=b"h\n").delivered_to() == b"Delivered-To: a_b@h_\n"


def test_owner() -> None:
    assert delivery().owner(False) == b"joe-a-b-owner@example.org"
    assert delivery().owner(True) == b"joe-a-b-owner-@example.org-@[]"


@pytest.mark.parametrize(
    ("ext", "rest"),
    [
        (b"", [b"", b"", b"", b""]),
        (b"a", [b"a", b"", b"", b""]),
        (b"a-b-c-d-e", [b"a-b-c-d-e", b"b-c-d-e", b"c-d-e", b"d-e"]),
        (b"a--b", [b"a--b", b"-b", b"b", b""]),
    ],
)
def test_extensions(ext: bytes, rest: list[bytes]) -> None:
    assert list(extensions(ext)) == ["EXT", "EXT2", "EXT3", "EXT4"]
    assert list(extensions(ext).values()) == rest


@pytest.mark.parametrize(
    ("host", "shorter"),
    [
        (b"a.b.c.d", [b"a.b.c", b"a.b", b"a"]),
        (b"localhost", [b"localhost"] * 3),
        (b"a.b", [b"a", b"a", b"a"]),
        (b".org", [b"", b"", b""]),
        (b"", [b"", b"", b""]),
    ],
)
def test_hosts(host: bytes, shorter: list[bytes]) -> None:
    assert list(hosts(host)) == ["HOST2", "HOST3", "HOST4"]
    assert list(hosts(host).values()) == shorter


def test_environment() -> None:
    given_env = {"PATH": "/bin", "USER": "root", "DEFAULT": "inherited"}
    env = environment(delivery(sender=b"\xffs@x"), given_env, NOW, None, b"new@sender")
    assert env == {
        "PATH": "/bin",
        "DEFAULT": "inherited",
        "HOST": "example.org",
        "HOST2": "example",
        "HOST3": "example",
        "HOST4": "example",
        "HOME": "/home/joe",
        "USER": "joe",
        "LOCAL": "joe-a-b",
        "SENDER": "\udcffs@x",
        "RECIPIENT": "joe-a-b@example.org",
        "DTLINE": "Delivered-To: joe-a-b@example.org\n",
        "RPLINE": 'Return-Path: <"\udcffs"@x>\n',
        "UFLINE": "From \udcffs@x Tue Sep 05 04:46:53 1995\n",
        "EXT": "a-b",
        "EXT2": "b",
        "EXT3": "",
        "EXT4": "",
        "NEWSENDER": "new@sender",
    }
    assert given_env["USER"] == "root"
    assert environment(delivery(), given_env, NOW, b"b", b"")["DEFAULT"] == "b"


@given(words, words, words)
def test_no_address_makes_a_second_header_line(local: bytes, host: bytes, sender: bytes) -> None:
    made = delivery(sender=sender, local=local, host=host)
    for line in (made.delivered_to(), made.return_path()):
        assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert made.from_line(NOW)[:-1].count(b"\n") == 0
