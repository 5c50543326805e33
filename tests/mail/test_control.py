"""Control files, the home, addresses and dates."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.address import quote2, split
from qmail.control import Controls
from qmail.dates import date822, myctime
from qmail.home import conf, home, sibling


@pytest.fixture
def controls(tmp_path: Path) -> Controls:
    (tmp_path / "control").mkdir()
    return Controls(str(tmp_path))


def put(controls: Controls, name: str, data: bytes) -> None:
    Path(controls.path(name)).write_bytes(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"a b \t\n", b"a b"),
        (b"", b""),
        (b"\nx\n", b""),
        (b" x", b" x"),
        (b"x\r\n", b"x\r"),
        (b"#x\n", b"#x"),
        (b"a\0b", b"a\0b"),
    ],
)
def test_line(controls: Controls, data: bytes, value: bytes) -> None:
    put(controls, "me", data)
    assert controls.line("me") == value


def test_line_not_there_and_defaults(controls: Controls) -> None:
    assert controls.line("bouncehost") is None
    assert controls.line_or_me("bouncehost", b"lit") == b"lit"
    put(controls, "me", b"host\n")
    assert controls.line_or_me("bouncehost", b"lit") == b"host"


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"12abc", 12),
        (b"", 5),
        (b"x5", 5),
        (b" 5", 5),
        (b"-3", 5),
        (b"+3", 5),
        (b"4294967297", 1),
        (b"2147483648", 0),
        (b"0", 0),
    ],
)
def test_integer(controls: Controls, data: bytes, value: int) -> None:
    put(controls, "n", data)
    assert controls.integer("n", 5) == value


def test_lists_and_maps(controls: Controls) -> None:
    put(controls, "list", b"a \n\n#c\n #d\nb\0e\nlast")
    assert controls.lines("list") == [b"a", b" #d", b"b", b"e", b"last"]
    put(controls, "map", b"A:1\nnocolon\na:2:3\n:all\n")
    assert controls.mapping("map") == {b"a": b"2:3", b"": b"all"}
    assert controls.lines("none") is None
    put(controls, "me", b"host\n")
    assert controls.lines("none", or_me=True) == [b"host"]
    assert controls.members("list") == frozenset((b"a", b" #d", b"b", b"e", b"last"))


def test_an_edit_is_seen_and_a_directory_is_trouble(controls: Controls) -> None:
    put(controls, "me", b"one\n")
    assert controls.line("me") == b"one"
    put(controls, "new", b"two\n")
    os.rename(controls.path("new"), controls.path("me"))
    assert controls.line("me") == b"two"
    os.unlink(controls.path("me"))
    assert controls.line("me") is None
    os.mkdir(controls.path("me"))
    with pytest.raises(IsADirectoryError):
        controls.line("me")


def test_home_and_conf(tmp_path: Path) -> None:
    assert home({}) == home({"QMAILHOME": ""}) == "/var/qmail"
    env = {"QMAILHOME": str(tmp_path)}
    assert conf("conf-split", env) == "23"
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "conf-split").write_text("127 \t\nsecond\n")
    assert conf("conf-split", env) == "127"


def test_sibling_prefers_the_home(tmp_path: Path) -> None:
    env = {"QMAILHOME": str(tmp_path)}
    assert sibling("qmail-local", env) in ("qmail-local",) or sibling("qmail-local", env).endswith("/qmail-local")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "qmail-local").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "qmail-local").chmod(0o755)
    assert sibling("qmail-local", env) == f"{tmp_path}/bin/qmail-local"


@pytest.mark.parametrize(
    ("address", "quoted"),
    [
        (b"", b""),
        (b"joe", b"joe"),
        (b"a@b@c", b'"a@b"@c'),
        (b"joe q@h", b'"joe q"@h'),
        (b'a"b@h', b'"a\\"b"@h'),
        (b"@h", b'""@h'),
        (b".a@h", b'".a"@h'),
        (b"a..b@h", b'"a..b"@h'),
        (b"\xe4@h", b'"\xe4"@h'),
        (b"a\nb@h", b'"a\\\nb"@h'),
    ],
)
def test_quote2(address: bytes, quoted: bytes) -> None:
    assert quote2(address) == quoted


@given(st.binary())
def test_split_joins_again(address: bytes) -> None:
    box, host = split(address)
    assert (box if host is None else box + b"@" + host) == address


def test_dates() -> None:
    assert date822(810276413) == b"5 Sep 1995 04:46:53 -0000"
    assert myctime(810276413) == b"Tue Sep 05 04:46:53 1995"
