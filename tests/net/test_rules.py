"""Which rule is found: the order of look-ups, what rules contain, files that change or are damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qserver.base.cdb import write_cdb
from qserver.net.rules import Rule, look_up
from qserver.net.ruletext import parse


def compile_rules(directory: Path, text: str) -> str:
    """A rules file of these rules."""
    path = str(directory / "rules.cdb")
    records = [record for keys, data in parse(text.encode()) for record in zip(keys, data, strict=True)]
    write_cdb(path, str(directory / "rules.tmp"), records)
    return path


def found(path: str, ip: str, host: str | None = None, info: str | None = None) -> str | None:
    """The value of the variable WHICH that the rule found sets."""
    rule = look_up(path, ip, host, info)
    return None if rule is None else dict(rule.settings)["WHICH"]


ORDER = [
    ("joe@1.2.3.4", 'joe@1.2.3.4:allow,WHICH="info@ip"'),
    ("joe@=mail.example.org", 'joe@=mail.example.org:allow,WHICH="info@=host"'),
    ("1.2.3.4", '1.2.3.4:allow,WHICH="ip"'),
    ("=mail.example.org", '=mail.example.org:allow,WHICH="=host"'),
    ("1.2.3.", '1.2.3.:allow,WHICH="1.2.3."'),
    ("1.2.", '1.2.:allow,WHICH="1.2."'),
    ("1.", '1.:allow,WHICH="1."'),
    ("/32", '1.2.3.4/32:allow,WHICH="/32"'),
    ("/31", '1.2.3.4/31:allow,WHICH="/31"'),
    ("/24", '1.2.3./24:allow,WHICH="/24"'),
    ("/7", '1./7:allow,WHICH="/7"'),
    ("/1", '0./1:allow,WHICH="/1"'),
    ("=.example.org", '=.example.org:allow,WHICH="=.example.org"'),
    ("=.org", '=.org:allow,WHICH="=.org"'),
    ("=", '=:allow,WHICH="="'),
    ("", ':allow,WHICH="default"'),
]


@pytest.mark.parametrize("first", range(len(ORDER) + 1), ids=[name or "default" for name, _ in ORDER] + ["none"])
def test_the_order_of_look_ups(tmp_path: Path, first: int) -> None:
    left = [text for _, text in ORDER[first:]]
    path = compile_rules(tmp_path, "\n".join(reversed(left)))
    expected = left[0].split('"')[1] if left else None
    assert found(path, "1.2.3.4", "mail.example.org", "joe") == expected


ORDER_6 = [
    'joe@2001:db8::1:allow,WHICH="info@ip"',
    'joe@=mail.example.org:allow,WHICH="info@=host"',
    '2001:db8::1:allow,WHICH="ip"',
    '=mail.example.org:allow,WHICH="=host"',
    '2001:db8::1/128:allow,WHICH="/128"',
    '2001:db8::1/127:allow,WHICH="/127"',
    '2001:db8::/32:allow,WHICH="/32"',
    '2000::/3:allow,WHICH="/3"',
    '2000::/1:allow,WHICH="/1"',
    '=.example.org:allow,WHICH="=.example.org"',
    '=:allow,WHICH="="',
    ':allow,WHICH="default"',
]


@pytest.mark.parametrize("first", range(len(ORDER_6)))
def test_the_order_of_look_ups_for_ipv6(tmp_path: Path, first: int) -> None:
    path = compile_rules(tmp_path, "\n".join(reversed(ORDER_6[first:])))
    assert found(path, "2001:db8::1", "mail.example.org", "joe") == ORDER_6[first].split('"')[1]


RULES = """\
1.2.3.4:allow,WHICH="one"
1.2.:allow,WHICH="two"
1.2.3.0/24:allow,WHICH="network"
9.9.0.0/16:allow,WHICH="wide"
9.9.9.0/24:allow,WHICH="narrow"
9.9.9.9/32:allow,WHICH="single"
10.0.0-3.:allow,WHICH="range"
::1:allow,WHICH="loopback"
fe80::/10:allow,WHICH="link"
::/8:allow,WHICH="low"
@5.6.7.8:allow,WHICH="empty info"
=:allow,WHICH="named"
=.:allow,WHICH="dot"
=.b.c:allow,WHICH="b.c"
a_b:allow,WHICH="odd"
"""


@pytest.mark.parametrize(
    ("ip", "host", "info", "expected"),
    [
        ("1.2.3.4", None, None, "one"),
        ("1.2.3.5", None, None, "two"),
        ("1.3.3.5", None, None, None),
        ("9.9.9.9", None, None, "single"),
        ("9.9.9.8", None, None, "narrow"),
        ("9.9.8.9", None, None, "wide"),
        ("9.8.9.9", None, None, None),
        ("10.0.3.1", None, None, "range"),
        ("10.0.4.1", None, None, None),
        ("::1", None, None, "loopback"),
        ("0:0:0:0:0:0:0:1", None, None, "loopback"),
        ("::2", None, None, "low"),
        ("fe80::1%lo", None, None, "link"),
        ("fec0::1", None, None, None),
        ("::ffff:1.2.3.4", None, None, "one"),
        ("::FFFF:9.9.9.8", None, None, "narrow"),
        ("5.6.7.8", None, "", "empty info"),
        ("5.6.7.8", None, None, None),
        ("5.6.7.8", "", None, "named"),
        ("5.6.7.8", "x", None, "named"),
        ("5.6.7.8", "a.b.c", None, "b.c"),
        ("5.6.7.8", "b.c", None, "named"),
        ("5.6.7.8", "B.C", None, "named"),
        ("5.6.7.8", "x.", None, "dot"),
        ("a_b", None, None, "odd"),
        ("1.2.x", None, None, "two"),
        ("x:1.2.3.4", None, None, None),
        ("", None, None, None),
    ],
)
def test_who_meets_which_rule(tmp_path: Path, ip: str, host: str | None, info: str | None, expected: str | None) -> None:
    assert found(compile_rules(tmp_path, RULES), ip, host, info) == expected


def test_what_a_rule_contains(tmp_path: Path) -> None:
    path = compile_rules(
        tmp_path, '1.1.1.1:deny,A="b",C="",A="\udc80"\n2.2.2.2:allow\n'.encode(errors="surrogateescape").decode("latin-1")
    )
    rule = look_up(path, "1.1.1.1", None, None)
    assert rule is not None
    assert (rule.key, rule.deny, [name for name, _ in rule.settings]) == (b"1.1.1.1", True, ["A", "C", "A"])
    empty = look_up(path, "2.2.2.2", None, None)
    assert empty is not None
    assert (empty.key, empty.deny, empty.settings) == (b"2.2.2.2", False, [])


@pytest.mark.parametrize(
    ("data", "deny", "settings"),
    [
        (b"", False, []),
        (b"D\0", True, []),
        (b"+A=b\0D\0+C=d\0", True, [("A", "b"), ("C", "d")]),
        (b"+A=b=c\0", False, [("A", "b=c")]),
        (b"+A\0", False, []),
        (b"+=x\0", False, [("", "x")]),
        (b"+A=b\0+C=unended", False, [("A", "b")]),
        (b"D", False, []),
        (b"Xyz\0\0+A=\xff\0", False, [("A", "\udcff")]),
    ],
)
def test_data_of_any_writer(tmp_path: Path, data: bytes, deny: bool, settings: list[tuple[str, str]]) -> None:
    path = str(tmp_path / "rules.cdb")
    write_cdb(path, str(tmp_path / "tmp"), [(b"1.2.3.4", data)])
    rule = look_up(path, "1.2.3.4", None, None)
    assert isinstance(rule, Rule)
    assert (rule.deny, rule.settings) == (deny, settings)


def test_a_file_that_is_replaced_is_seen_at_the_next_look_up(tmp_path: Path) -> None:
    path = compile_rules(tmp_path, ':allow,WHICH="old"')
    assert found(path, "1.2.3.4") == "old"
    compile_rules(tmp_path, ':allow,WHICH="new"')
    assert found(path, "1.2.3.4") == "new"
    os.unlink(path)
    with pytest.raises(FileNotFoundError):
        look_up(path, "1.2.3.4", None, None)
    compile_rules(tmp_path, "")
    assert look_up(path, "1.2.3.4", None, None) is None


def test_a_network_key_alone_is_no_network(tmp_path: Path) -> None:
    path = str(tmp_path / "rules.cdb")
    write_cdb(path, str(tmp_path / "tmp"), [(b"_", b"D\0"), (b"^", b"D\0"), (b"_" + b"0" * 40, b"D\0")])
    for ip in ("0.0.0.0", "::", "1.2.3.4"):
        assert look_up(path, ip, None, None) is None


def test_damaged_files_are_an_error_or_are_not_noticed(tmp_path: Path) -> None:
    path = compile_rules(tmp_path, RULES)
    whole = Path(path).read_bytes()
    refused = 0
    for size in range(0, len(whole), 7):
        Path(path).write_bytes(whole[:size])
        os.utime(path, ns=(size, size))
        try:
            look_up(path, "9.9.9.8", "a.b.c", "joe")
        except OSError:
            refused += 1
    assert refused == len(range(0, len(whole), 7))
    for at in range(len(whole)):
        Path(path).write_bytes(whole[:at] + bytes((whole[at] ^ 0x81,)) + whole[at + 1 :])
        os.utime(path, ns=(at, at))
        try:
            look_up(path, "9.9.9.8", "a.b.c", "joe")
        except OSError:
            continue


def test_rules_a_directory_and_a_file_one_may_not_read(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        look_up(str(tmp_path), "1.2.3.4", None, None)
    path = compile_rules(tmp_path, "")
    os.chmod(path, 0)
    if not os.access(path, os.R_OK):
        with pytest.raises(PermissionError):
            look_up(path, "1.2.3.4", None, None)
