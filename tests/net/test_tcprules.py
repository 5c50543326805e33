"""tcprules and tcprulescheck: the same files and answers as the C programs', and what goes beyond them."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qserver.base.cdb import Cdb, write_cdb
from qserver.net import ruletext
from qserver.net.ruletext import BadRule, parse, parse_line
from tests.support import environment, ours, peer, run


def compiled(directory: Path, text: bytes, program: str | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run tcprules in the directory."""
    return run([program or ours("tcprules"), "rules.cdb", "rules.tmp"], input=text, cwd=directory)


def records(directory: Path) -> list[tuple[bytes, bytes]]:
    with Cdb.open(str(directory / "rules.cdb")) as cdb:
        return list(cdb.records())


def stored(line: str) -> list[tuple[bytes, bytes]]:
    return list(parse_line(line.encode("latin-1")))


ADDRESSES = (
    "{}.{}.{}.{}",
    "{}.{}.{}.",
    "{}.{}.",
    "{}.",
    "{}.{}.{}-{}.",
    "{}.{}-{}.",
    "{}-{}.",
    "1.2.3.{}-{}",
    "=host{}.example{}-a.org",
    "=.example{}.org",
    "=",
    "user{}@{}.{}.{}.9",
    "joe@=host{}.example.org",
    "",
    "host_{}",
    "odd {} _name",
)
QUOTES = '"""""/+=xQ,:'


def random_rules(count: int, seed: int) -> bytes:
    """Rules of every kind that mean the same to 0.88 and to the newer programs."""
    chance = random.Random(seed)

    def setting() -> str:
        name = chance.choice(("RELAYCLIENT", "DATABYTES", "A,B", "", "X" * 40, "n-1"))
        quote = chance.choice(QUOTES)
        value = "".join(chance.choice("ab=,:/ +\t1\xe9") for _ in range(chance.randrange(8))).replace(quote, "")
        return f",{name}={quote}{value}{quote}"

    lines = []
    for _ in range(count):
        address = chance.choice(ADDRESSES).format(*(chance.choice((chance.randrange(256), 7, 300)) for _ in range(4)))
        settings = "".join(setting() for _ in range(chance.choice((0, 0, 1, 2, 5))))
        lines.append(address + chance.choice((":allow", ":allow", ":deny")) + settings + chance.choice(("", "", " ", " \t")))
        if chance.random() < 0.05:
            lines.append(chance.choice(("", "# comment: deny", " \t ", "no colon", "#")))
    return "\n".join(lines).encode("latin-1")


def test_ten_thousand_rules_make_the_same_file_as_c(tmp_path: Path) -> None:
    text = random_rules(10_000, 1)
    (tmp_path / "c").mkdir()
    theirs = compiled(tmp_path / "c", text, peer("tcprules"))
    assert (theirs.returncode, theirs.stderr) == (0, b"")
    mine = compiled(tmp_path, text)
    assert (mine.returncode, mine.stdout, mine.stderr) == (0, b"", b"")
    assert (tmp_path / "rules.cdb").read_bytes() == (tmp_path / "c" / "rules.cdb").read_bytes()
    assert not (tmp_path / "rules.tmp").exists()


@pytest.mark.parametrize("kind", ["plain", "mixed"])
def test_plain_rules_make_the_same_file_as_c(tmp_path: Path, kind: str) -> None:
    lines = []
    for n in range(20_000):
        tail = f',RELAYCLIENT="",DATABYTES="{n}"' if n % 10 < 7 else ""
        lines.append(f"{n >> 8}.{n & 255}.:{'deny' if n % 3 == 0 else 'allow'}{tail}")
        if kind == "mixed" and n % 97 == 0:
            lines += ["", "# a comment", f'=host{n}.example:allow,A="a=b=c"', f"joe@=h:deny,X=/{n}/", f"{n >> 8}.3-9.:deny"]
    text = "\n".join(lines).encode()
    (tmp_path / "c").mkdir()
    assert compiled(tmp_path / "c", text, peer("tcprules")).returncode == 0
    assert compiled(tmp_path, text).returncode == 0
    assert (tmp_path / "rules.cdb").read_bytes() == (tmp_path / "c" / "rules.cdb").read_bytes()


def test_no_rules_make_an_empty_database(tmp_path: Path) -> None:
    for text in (b"", b"\n", b"# only\n\n#comments"):
        assert compiled(tmp_path, text).returncode == 0
        assert (tmp_path / "rules.cdb").stat().st_size == 2048


PIECES = (
    *(b"1.2.3.4", b"1.", b"=h", b"j@=h", b"j@1.2.3.4", b"::1", b"/8", b"-", b"7"),
    *(b":allow", b":deny", b":allow,", b":deny,", b'="', b'",', b'"\n', b',A="b"', b',B=""', b',C="x=y"', b',D=":allow,"'),
    *(bytes((octet,)) for octet in b',="\n\n\n:#+ \t\0\1\2\3\4\5aD/\xff'),
    *(b'1.2.3.4:allow,A="b",C="d"\n', b"5.6.7.:deny\n", b'=x.y:allow,E="="\n', b'=x:allow,F="1=2=3=4=5=6"\n'),
)
TEXT = st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)


@settings(max_examples=3000, deadline=None)
@given(TEXT)
def test_many_lines_at_once_and_line_by_line_are_the_same(text: bytes) -> None:
    try:
        expected: object = [record for line in text.split(b"\n") for record in parse_line(line)]
    except BadRule as bad:
        expected = (bad.complaint, bad.line)
    try:
        actual: object = [pair for keys, data in parse(text) for pair in zip(keys, data, strict=True)]
    except BadRule as bad:
        actual = (bad.complaint, bad.line)
    assert actual == expected


@pytest.mark.parametrize("text", [b'1.2.3.4="+",5.6.7.:deny\n', b':deny="=j@=h",1.2.3.4:allow,A="b"\n', b'=="x",=h:allow\n'])
def test_settings_before_a_verdict_are_no_rule(text: bytes) -> None:
    with pytest.raises(BadRule):
        list(parse(text))


def test_plain_lines_are_not_parsed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_line: bytes) -> None:
        raise AssertionError

    monkeypatch.setattr(ruletext, "parse_line", never)
    text = b'1.2.3.4:allow,A="b",C="d=e"\n5.6.7.:deny\n=h.example:deny,X=""\n1.2-3.:allow\n::1:allow\n10./8:allow,Y=""'
    assert [len(keys) for keys, _ in parse(text)] == [7]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('1.2.3.4:deny,A="b"', [(b"1.2.3.4", b"D\0+A=b\0")]),
        ("1.2.3.4:allow", [(b"1.2.3.4", b"")]),
        (":allow", [(b"", b"")]),
        (" :allow", [(b" ", b"")]),
        ("1.2.3.4 :deny \t ", [(b"1.2.3.4 ", b"D\0")]),
        ("#1.2.3.4:deny", []),
        ("", []),
        (" \t", []),
        ("no colon", []),
        ("x:allow,A=+b+", [(b"x", b"+A=b\0")]),
        ("x:allow,A=xbx,C===", [(b"x", b"+A=b\0+C=\0")]),
        ('x:allow,A="b:c,d",,="', None),
        ('x:allow,A="b:c,d",="="', [(b"x", b"+A=b:c,d\0+==\0")]),
        ("127.0-2.:deny", [(b"127.0.", b"D\0"), (b"127.1.", b"D\0"), (b"127.2.", b"D\0")]),
        ("1.2.3.9-7:deny", []),
        ("1.2.3.253-999:deny", [(b"1.2.3.%d" % n, b"D\0") for n in (253, 254, 255)]),
        ("1.007-8.:deny", [(b"1.7.", b"D\0"), (b"1.8.", b"D\0")]),
        ("-1:deny", [(b"0", b"D\0"), (b"1", b"D\0")]),
        ("1-:deny", []),
        ("=a-b.example:deny", [(b"=a-b.example", b"D\0")]),
        ("joe@a-b:deny", [(b"joe@a-b", b"D\0")]),
        ("127./8:deny", [(b"_0bcdefgh", b"D\0")]),
        ("10.1.2.3/16:allow", [(b"_0000e0g00000000p", b"")]),
        ("10.1/16:allow", [(b"_0000e0g00000000p", b"")]),
        ("/1:allow", [(b"_0", b"")]),
        ("255.255.255.255/032:allow", [(b"_abcdefghijklmnopqrstuvwxyz123456", b"")]),
        ("::1:deny", [(b"0000:0000:0000:0000:0000:0000:0000:0001", b"D\0")]),
        ("2001:db8::abCD:allow", [(b"2001:0DB8:0000:0000:0000:0000:0000:ABCD", b"")]),
        ("2001:db8::/32:allow,A=/:,/", [(b"^00`000000000000a0000bc0de0fgh000", b"+A=:,\0")]),
        ("joe@::1:deny", [(b"joe@0000:0000:0000:0000:0000:0000:0000:0001", b"D\0")]),
        ("a:b@1.2.3.4:deny", [(b"a:b@0000:0000:0000:0000:0000:FFFF:0102:0304", b"D\0")]),
        ("a:b@c/d:deny", [(b"a:b@c/d", b"D\0")]),
        ("joe@=h:x:deny", [(b"joe@=h:x", b"D\0")]),
    ],
)
def test_lines(line: str, expected: list[tuple[bytes, bytes]] | None) -> None:
    if expected is None:
        with pytest.raises(BadRule):
            stored(line)
    else:
        assert stored(line) == expected


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("1.2.3.4:permit", "unable to parse this line: 1.2.3.4:permit"),
        ("1.2.3.4:Deny", "unable to parse this line: 1.2.3.4:Deny"),
        ("1.2.3.4:deny ,A=xx  ", "unable to parse this line: 1.2.3.4:deny ,A=xx"),
        ("1.2.3.4:", "unable to parse this line: 1.2.3.4:"),
        ("1.2.3.4:allow,", "unable to parse this line: 1.2.3.4:allow,"),
        ("1.2.3.4:allow,A", "unable to parse this line: 1.2.3.4:allow,A"),
        ("1.2.3.4:allow,A=", "unable to parse this line: 1.2.3.4:allow,A="),
        ('1.2.3.4:allow,A="b', 'unable to parse this line: 1.2.3.4:allow,A="b'),
        ('1.2.3.4:allow,A="b"x', 'unable to parse this line: 1.2.3.4:allow,A="b"x'),
        ("1.2.3.4:allow\r", "unable to parse this line: 1.2.3.4:allow\r"),
        ("no colon,A:allow", "unable to parse this line: no colon,A:allow"),
        ("1.x-3.:deny", "unable to parse this line: 1.x-3.:deny"),
        ("1.2-3-4.:deny", "unable to parse this line: 1.2-3-4.:deny"),
        ("1.2.3.4/x:deny", "unable to parse this line: 1.2.3.4/x:deny"),
        ("1.2.3.4/8/9:deny", "unable to parse this line: 1.2.3.4/8/9:deny"),
        ("1.2.3.4.5/8:deny", "unable to parse this line: 1.2.3.4.5/8:deny"),
        ("1..3/8:deny", "unable to parse this line: 1..3/8:deny"),
        ("256.1/8:deny", "unable to parse this line: 256.1/8:deny"),
        ("1.2.3.4/33:deny", "invalid prefix length on line: 1.2.3.4/33:deny"),
        ("1.2.3.4/0:deny", "invalid prefix length on line: 1.2.3.4/0:deny"),
        ("::1/129:deny", "invalid prefix length on line: ::1/129:deny"),
        ("::1/0:deny", "invalid IPv6 CIDR address on line: ::1/0:deny"),
        ("::g/64:deny", "invalid IPv6 CIDR address on line: ::g/64:deny"),
        ("::g:deny", "invalid IPv6 address: on line: ::g:deny"),
        ("1.2.3.4:x:deny", "invalid IPv6 address: on line: 1.2.3.4:x:deny"),
        ("joe@::g:deny", "invalid IPv6 address: on line: joe@::g:deny"),
    ],
)
def test_lines_that_are_no_rules(tmp_path: Path, line: str, complaint: str) -> None:
    (tmp_path / "rules.cdb").write_bytes(b"as before")
    done = compiled(tmp_path, b"5.6.7.8:allow\n" + line.encode("latin-1") + b"\n")
    assert (done.returncode, done.stdout, done.stderr) == (
        101,
        b"",
        b"tcprules: syntax: " + complaint.encode("latin-1") + b"\n",
    )
    assert (tmp_path / "rules.cdb").read_bytes() == b"as before"
    assert (tmp_path / "rules.tmp").exists()


@pytest.mark.parametrize("words", [[], ["rules.cdb"]])
def test_tcprules_usage(tmp_path: Path, words: list[str]) -> None:
    done = run([ours("tcprules"), *words], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (100, b"tcprules: usage: tcprules rules.cdb rules.tmp\n")


def test_tcprules_troubles(tmp_path: Path) -> None:
    done = run([ours("tcprules"), "rules.cdb", "no/tmp"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        111,
        b"tcprules: error: (111) unable to create: no/tmp: file does not exist\n",
    )
    done = run([ours("tcprules"), "no/rules.cdb", "tmp"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        111,
        b"tcprules: error: (111) unable to move tmp to: no/rules.cdb: file does not exist\n",
    )


def test_tcprules_that_cannot_write_leaves_the_old_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.cdb").write_bytes(b"as before")
    (tmp_path / "rules.tmp").symlink_to("/dev/full")
    done = compiled(tmp_path, b"1.2.3.4:allow\n")
    assert (done.returncode, done.stderr) == (
        111,
        b"tcprules: fatal: (111) unable to write to: rules.tmp: out of disk space\n",
    )
    assert (tmp_path / "rules.cdb").read_bytes() == b"as before"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0])
def test_the_mode_of_the_file(tmp_path: Path, umask: int) -> None:
    def take_umask() -> None:
        os.umask(umask)

    done = run([ours("tcprules"), "rules.cdb", "tmp"], cwd=tmp_path, preexec=take_umask)
    assert done.returncode == 0
    assert (tmp_path / "rules.cdb").stat().st_mode & 0o7777 == 0o644 & ~umask


CHECKED = b"""\
1.2.3.4:deny,A="b"
1.2.3.:allow,WHICH="second",B="two words"
=mail.example.org:allow,HOST="exact"
=.example.org:deny
joe@1.2.3.5:allow,IDENT="joe"
joe@=host:allow
18.23.0.32:allow,which="second"
"""
PEERS = [
    {"TCPREMOTEIP": "1.2.3.4"},
    {"TCPREMOTEIP": "1.2.3.5"},
    {"TCPREMOTEIP": "1.2.3.5", "TCPREMOTEINFO": "joe"},
    {"TCPREMOTEIP": "9.9.9.9", "TCPREMOTEHOST": "mail.example.org"},
    {"TCPREMOTEIP": "9.9.9.9", "TCPREMOTEHOST": "www.example.org"},
    {"TCPREMOTEIP": "9.9.9.9", "TCPREMOTEHOST": "host", "TCPREMOTEINFO": "joe"},
    {"TCPREMOTEIP": "9.9.9.9", "TCPREMOTEHOST": "", "TCPREMOTEINFO": ""},
    {"TCPREMOTEIP": "18.23.0.32"},
    {},
]


@pytest.mark.parametrize("env", PEERS, ids=lambda env: " ".join(env.values()) or "none")
@pytest.mark.parametrize("default", [b"", b"=:allow,NAMED=/yes/\n"], ids=["", "named"])
def test_check_answers_as_c_does(tmp_path: Path, env: dict[str, str], default: bytes) -> None:
    assert compiled(tmp_path, CHECKED + default).returncode == 0
    theirs = run([peer("tcprulescheck"), "rules.cdb"], cwd=tmp_path, env=env)
    mine = run([ours("tcprulescheck"), "rules.cdb"], cwd=tmp_path, env=environment(**env))
    assert (mine.returncode, mine.stdout) == (0, theirs.stdout)


@pytest.mark.parametrize(
    ("env", "shown"),
    [
        ({"TCPREMOTEIP": "2001:db8::1"}, b"rule 2001:db8::/32:\ndeny connection\n"),
        ({"TCP6REMOTEIP": "2001:db8::1", "TCP6REMOTEHOST": "h"}, b"rule =h:\nset environment variable A=b\nallow connection\n"),
        ({"TCPREMOTEIP": "::1"}, b"rule 0000:0000:0000:0000:0000:0000:0000:0001:\nallow connection\n"),
        ({"TCPREMOTEIP": "::ffff:127.0.0.9"}, b"rule 127./8:\nallow connection\n"),
        ({"TCPREMOTEIP": "4.4.4.4"}, b"rule 4.4.4.4/32:\nset environment variable X=\nallow connection\n"),
        ({"TCPREMOTEIP": "200.1.1.1"}, b"default:\nset environment variable Z=1\ndeny connection\n"),
    ],
)
def test_check_beyond_c(tmp_path: Path, env: dict[str, str], shown: bytes) -> None:
    text = b'2001:db8::/32:deny,A="b"\n=h:allow,A="b"\n::1:allow\n127./8:allow\n4.4.4.4/32:allow,X=//\n'
    assert compiled(tmp_path, text).returncode == 0
    settings_first = (b"", b"+Z=1\0D\0+Y=2\0")
    write_cdb(str(tmp_path / "rules.cdb"), str(tmp_path / "tmp"), [*records(tmp_path), settings_first])
    done = run([ours("tcprulescheck"), "rules.cdb"], cwd=tmp_path, env=environment(**env))
    assert (done.returncode, done.stdout) == (0, shown)


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, b"TCPREMOTEIP: 0 TCPREMOTEHOST: "),
        ({"TCPREMOTEIP": "1.2.3.4", "TCPREMOTEINFO": "joe"}, b"TCPREMOTEIP: 1.2.3.4 TCPREMOTEHOST: "),
        ({"TCPREMOTEIP": "1.2.3.4", "TCPREMOTEHOST": "h"}, b"TCPREMOTEIP: 1.2.3.4 TCPREMOTEHOST: h TCPREMOTEINFO: "),
        ({"TCPREMOTEHOST": "", "TCPREMOTEINFO": "joe"}, b"TCPREMOTEIP: 0 TCPREMOTEHOST:  TCPREMOTEINFO: joe"),
        ({"TCP6REMOTEIP": "::1", "TCP6REMOTEHOST": "h"}, b"TCPREMOTEIP: ::1 TCPREMOTEHOST: h TCPREMOTEINFO: "),
    ],
)
def test_check_says_what_it_looks_up(tmp_path: Path, env: dict[str, str], said: bytes) -> None:
    assert compiled(tmp_path, b"").returncode == 0
    done = run([ours("tcprulescheck"), "rules.cdb"], cwd=tmp_path, env=environment(**env))
    assert (done.returncode, done.stderr) == (0, b"tcprulescheck: info: " + said + b"\n")
    assert done.stdout == b"default:\nallow connection\n"


def test_check_troubles(tmp_path: Path) -> None:
    done = run([ours("tcprulescheck")], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (100, b"tcprulescheck: usage: tcprulescheck rules.cdb\n")
    (tmp_path / "bad").write_bytes(b"x" * 5000)
    for name, why in (("absent", b"file does not exist"), ("bad", b"protocol error"), (".", b"is a directory")):
        done = run([ours("tcprulescheck"), name], cwd=tmp_path)
        assert done.returncode == 111
        assert done.stderr.splitlines()[1] == b"tcprulescheck: fatal: (111) unable to read: " + name.encode() + b": " + why
        assert done.stdout == b""
