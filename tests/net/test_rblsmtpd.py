"""rblsmtpd with a name server of ours, beside Debian's where that does the same."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from qserver.net import blocklist
from qserver.net.blocklist import Verdict
from tests.net.responder import Responder
from tests.net.server import serving
from tests.support import environment, ours, peer, run, spawn

BOTH = ("ours", "theirs")
TABLE = {
    "2.0.0.127.rbl.example": ['TXT "Blocked by " "me \\195\\188"', "A 127.0.0.2"],
    "2.0.0.127.two.example": ["TXT one two", 'TXT "three" "four"'],
    "2.0.0.127.friends.example": ["A 127.0.0.5"],
    "2.0.0.127.broken.example": ["SERVFAIL"],
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.rbl.example": ["TXT six"],
    "2.0.0.127.long.example": [f"TXT {'x' * 250}"],
}
DIALOGUE = b"HELO x\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\nDATA\r\n\r\nnoop\r\nRSET\r\nEHLO\r\nhelp\r\nQUIT\r\nNOOP\r\n"


@pytest.fixture(scope="module")
def dns() -> Iterator[Responder]:
    with Responder(TABLE) as made:
        yield made


def rbl(dns: Responder, *words: str, text: bytes = DIALOGUE, **env: str) -> tuple[int, list[bytes], str]:
    given = {**environment(), **dns.env, "PROTO": "TCP", "TCPREMOTEIP": "127.0.0.2", **env}
    done = run([ours("rblsmtpd"), *words, "/bin/sh", "-c", "echo smtpd $RBLSMTPD; exit 7"], input=text, env=given)
    said = done.stderr.decode()
    return done.returncode, done.stdout.splitlines(), said.partition(": ")[2].partition(": ")[2].rstrip("\n")


def refused(message: bytes) -> tuple[int, list[bytes], str]:
    ok = b"250 rblsmtpd.local"
    lines = [b"220 rblsmtpd.local", ok, ok, message, message, message, ok, ok, ok, message, b"221 rblsmtpd.local"]
    return 0, lines, message.decode()


SERVED = (7, [b"smtpd"], "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-rrbl.example"], b"451 Blocked by me ??"),
        (["-b", "-r", "rbl.example"], b"553 Blocked by me ??"),
        (["-b", "-B", "-r", "rbl.example"], b"451 Blocked by me ??"),
        (["-r", "rbl.example", "-b"], b"451 Blocked by me ??"),
        (["-r", "none.example", "-r", "rbl.example"], b"451 Blocked by me ??"),
        (["-c", "-r", "broken.example"], b"451 temporary RBL lookup error"),
        (["-b", "-r", "broken.example", "-r", "rbl.example"], b"451 Blocked by me ??"),
        (["-a", "none.example", "-r", "rbl.example"], b"451 Blocked by me ??"),
        (["-c", "-a", "broken.example", "-r", "rbl.example"], b"451 Blocked by me ??"),
        (["-r", "long.example"], b"451 " + b"x" * 200),
    ],
)
def test_unwelcome(dns: Responder, words: list[str], message: bytes) -> None:
    assert rbl(dns, *words) == refused(message)


def test_several_records(dns: Responder) -> None:
    code, lines, _ = rbl(dns, "-r", "two.example")
    assert code == 0
    assert lines[3] in (b"451 onetwo?threefour", b"451 threefour?onetwo")


@pytest.mark.parametrize(
    "words",
    [[], ["-r", "none.example"], ["-r", "broken.example"], ["-a", "friends.example", "-r", "rbl.example"],
     ["-a", "broken.example", "-r", "rbl.example"]],
)  # fmt: skip
def test_welcome(dns: Responder, words: list[str]) -> None:
    assert rbl(dns, *words) == SERVED


@pytest.mark.parametrize(
    ("value", "message"),
    [("Go away", b"451 Go away"), ("-Go away", b"553 Go away"), ("-", b"553 "), ("a\nb", b"451 a?b")],
)
@pytest.mark.parametrize("who", BOTH)
def test_a_rule_s_word(dns: Responder, who: str, value: str, message: bytes) -> None:
    env = {**environment(), "TCPREMOTEIP": "127.0.0.2", "RBLSMTPD": value}
    program = ours("rblsmtpd") if who == "ours" else peer("rblsmtpd")
    done = run([program, "-r", "rbl.example", "/bin/true"], input=b"RCPT\r\nquit\r\n", env=env)
    assert (done.returncode, done.stdout.splitlines()) == (0, [b"220 rblsmtpd.local", message, b"221 rblsmtpd.local"])
    assert done.stderr.startswith(b"rblsmtpd: 127.0.0.2 pid ")
    assert done.stderr.endswith(b": " + message + b"\n")


def test_a_rule_welcomes(dns: Responder) -> None:
    assert rbl(dns, "-r", "rbl.example", RBLSMTPD="") == SERVED


def test_only_telling(dns: Responder) -> None:
    for words in (["-i", "-r", "rbl.example"], ["-r", "rbl.example", "-i"]):
        assert rbl(dns, *words) == (7, [b"smtpd [RBL info] Blocked by me ??"], "[RBL info] Blocked by me ??")
    assert rbl(dns, "-i", RBLSMTPD="no") == refused(b"451 no")


def test_saying_it_only(dns: Responder) -> None:
    assert rbl(dns, "-t0", "-r", "rbl.example") == (0, [b"451 Blocked by me ??"], "451 Blocked by me ??")


def test_the_dialogue_has_an_end(dns: Responder) -> None:
    here, there = socket.socketpair()
    env = {**environment(), **dns.env, "TCPREMOTEIP": "127.0.0.2", "RBLSMTPD": "no"}
    with here, spawn([ours("rblsmtpd"), "-t1", "true"], stdin=there.fileno(), stdout=there.fileno(), env=env) as process:
        there.close()
        assert here.recv(100) == b"220 rblsmtpd.local\r\n"
        assert process.wait(20) == 0
        assert here.recv(100) == b""


def test_delays(dns: Responder) -> None:
    assert rbl(dns, "-w1") == (7, [b"smtpd"], "greetdelay: 1")
    assert rbl(dns, "-W", GREETDELAY="1") == (7, [b"smtpd"], "greetdelay: 1")
    assert rbl(dns, "-W") == rbl(dns, "-W", GREETDELAY="0") == SERVED
    assert rbl(dns, "-W", RBLSMTPD="", GREETDELAY="60") == SERVED


def test_ipv6(dns: Responder) -> None:
    assert rbl(dns, "-r", "rbl.example", PROTO="TCP6", TCP6REMOTEIP="2001:db8::1")[2] == "451 six"
    assert rbl(dns, "-r", "rbl.example", PROTO="TCP6", TCP6REMOTEIP="::ffff:127.0.0.2")[2] == "451 Blocked by me ??"


@pytest.mark.parametrize(
    ("ip", "name"),
    [("127.0.0.2", "2.0.0.127.b"), ("::1", "1." + "0." * 31 + "b"), ("nonsense", None)],
)
def test_the_name_that_is_asked_for(ip: str, name: str | None) -> None:
    assert blocklist.query(ip, "b") == name


def test_a_verdict_is_printable() -> None:
    verdict = Verdict()
    verdict.block(bytes(range(256)), bounces=True)
    assert verdict.message().startswith(b"553 " + b"?" * 32 + b" !")
    assert len(verdict.message()) == 204


def test_wrong_calls(dns: Responder) -> None:
    done = run([ours("rblsmtpd"), "-r", "x"])
    assert done.returncode == 100
    assert done.stderr.startswith(b"rblsmtpd: usage: rblsmtpd [ -B ] [ -b ]")
    done = run([ours("rblsmtpd"), "no-such-program"])
    words = b"rblsmtpd: fatal: (111) unable to run: no-such-program: file does not exist\n"
    assert (done.returncode, done.stderr) == (111, words)


@pytest.mark.parametrize("program", [("qmail-popup", "host", "true"), ("/bin/echo", "served")])
def test_in_a_worker(dns: Responder, tmp_path: Path, program: tuple[str, ...]) -> None:
    """Before a program of ours nothing is started for a connection; before another one it is as it was."""
    options, inner = ["-RHl0"], ["-r", "two.example", *program]
    with serving(tmp_path, "rblsmtpd", *inner, options=options, env=dns.env) as server, server.connect() as client:
        expected = b"+OK" if program[0] == "qmail-popup" else b"served"
        assert client.recv(100).startswith(expected)
