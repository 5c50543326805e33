"""qmail-popup: its dialogues, and the three ways to run its subprogram, which must not differ from outside."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pop3d.dialogue import Case
from tests.support import environment, ours, spawn

LOGINS = sorted((Path(__file__).parent / "logins").glob("*.pop3"))
OWN = ["qmail-authuser", "true", "qmail-pop3d", "Maildir"]
CHECKPW = """#!/bin/sh
exec 9<&3
login=$(head -c 512 <&9 | tr '\\0' '\\n' | sed -n 1p)
test "$login" = joe || exit 3
exec 3<&- 9<&-
exec "$@"
"""


def make_home(path: Path) -> Path:
    """A qmail home whose users/authuser knows joe."""
    (path / "users").mkdir(parents=True)
    (path / "users/authuser").write_text("joe:{PLAIN}sec ret \nann:apopword\n".replace("{PLAIN}sec ret ", "sec ret"))
    return path


@contextmanager
def popup(
    tmp_path: Path, subprogram: list[str], env: dict[str, str], *, code: int = 1, log_open: bool = True
) -> Iterator[socket.socket]:
    """The client's end of qmail-popup running in tmp_path, its log in tmp_path/log."""
    client, server = socket.socketpair()
    client.settimeout(10)
    redirect = f"5>{tmp_path}/log" if log_open else "5>&-"
    argv = ["/bin/sh", "-c", f'exec "$0" "$@" {redirect}', ours("qmail-popup"), "pop.example.org", *subprogram]
    with spawn(argv, env=env, cwd=tmp_path, stdin=server.fileno(), stdout=server.fileno()) as process, client:
        server.close()
        yield client
        try:
            client.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        assert process.wait(10) == code
        assert process.stderr is not None and process.stderr.read() == b""


@pytest.mark.parametrize("way", ["here", "exec"])
@pytest.mark.parametrize("path", LOGINS, ids=lambda path: path.stem)
def test_login(path: Path, way: str, tmp_path: Path) -> None:
    case = Case(path)
    case.make_maildir(tmp_path / "Maildir")
    home = tmp_path / "qmail"
    (home / "users").mkdir(parents=True)
    (home / "users/authuser").write_text("joe:{SSHA256}" + ssha256(b"sec ret ") + "\n")
    env = environment(QMAILHOME=str(home), QSERVER_EXEC="1" if way == "exec" else "", **case.env)
    with popup(tmp_path, OWN, env) as client:
        case.play(client)
    case.check_maildir(tmp_path / "Maildir")
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == len(case.log)
    for line, expected in zip(lines, case.log, strict=True):
        assert re.fullmatch(expected, line), f"{line!r} instead of {expected!r}"


def ssha256(password: bytes) -> str:
    """The value of an {SSHA256} token; it can hold a password that ends in a blank."""
    import base64

    return base64.b64encode(hashlib.sha256(password + b"salt").digest() + b"salt").decode()


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A directory with a Maildir of one message, a home that knows ann, and a foreign checkpassword program."""
    for folder in ("new", "cur", "tmp"):
        (tmp_path / "Maildir" / folder).mkdir(parents=True)
    (tmp_path / "Maildir/new/1.a").write_bytes(b"x\n")
    os.utime(tmp_path / "Maildir/new/1.a", (1, 1))
    (tmp_path / "qmail/users").mkdir(parents=True)
    (tmp_path / "qmail/users/authuser").write_text("ann:word\njoe:secret\n")
    (tmp_path / "checkpw").write_text(CHECKPW)
    (tmp_path / "checkpw").chmod(0o755)
    return tmp_path


def say(client: socket.socket, *lines: bytes) -> bytes:
    """Send lines one by one, waiting for a reply line to each; then all that the server says to its end."""
    reader = client.makefile("rb")
    said = reader.readline()
    for line in lines:
        client.sendall(line + b"\r\n")
        said += reader.readline()
    return said + reader.read()


@pytest.mark.parametrize("way", ["", "1"], ids=["here", "exec"])
def test_apop_digest(box: Path, way: str) -> None:
    env = environment(QMAILHOME=str(box / "qmail"), POP3AUTH="apop", QSERVER_EXEC=way)
    with popup(box, OWN, env) as client:
        reader = client.makefile("rb")
        stamp = reader.readline().split()[1]
        pid, when = re.fullmatch(rb"<(\d+)\.(\d+)@pop\.example\.org>", stamp).groups()  # type: ignore[union-attr]
        assert int(pid) > 1 and abs(int(when) - time.time()) < 20
        digest = hashlib.md5(stamp + b"word").hexdigest().encode()
        client.sendall(b"APOP ann " + digest + b"\r\n")
        assert reader.readline() == b"+OK \r\n"
        client.sendall(b"STAT\r\nQUIT\r\n")
        assert reader.read() == b"+OK 1 2\r\n+OK \r\n"


@pytest.mark.parametrize(("login", "expected"), [(b"joe", b"+OK 1 2\r\n+OK \r\n"), (b"eve", b"")])
def test_foreign_checkpassword(box: Path, login: bytes, expected: bytes) -> None:
    env = environment(QMAILHOME=str(box / "qmail"))
    with popup(box, [str(box / "checkpw"), "qmail-pop3d", "Maildir"], env) as client:
        if expected:
            assert say(client, b"USER " + login, b"PASS pw", b"STAT", b"QUIT") == b"+OK\r\n+OK \r\n+OK \r\n" + expected
        else:
            assert say(client, b"USER " + login, b"PASS pw") == b"+OK\r\n+OK \r\n-ERR authorization failed\r\n"
    assert (b"Accept" if expected else b"Reject") in (box / "log").read_bytes()


def test_what_a_foreign_checkpassword_gets(box: Path) -> None:
    script = "cat <&3 >seen; echo out; echo err >&2; echo log >&5; ls /proc/$$/fd >fds"
    with popup(box, ["sh", "-c", script], environment()) as client:
        said = say(client, b"USER a b", b"PASS  c d ")
    assert said == b"+OK\r\n+OK \r\nout\nerr\n"
    login, password, stamp, rest = (box / "seen").read_bytes().split(b"\0")
    assert (login, password, rest) == (b"a b", b"c d ", b"")
    assert re.fullmatch(rb"<\d+\.\d+@pop\.example\.org>", stamp)
    assert set((box / "fds").read_text().split()) - {"10"} == set("01235"), "10 is the shell's"
    log = (box / "log").read_bytes().splitlines()
    assert log[0] == b"log" and b"Accept::AUTH::User" in log[1]


@pytest.mark.parametrize(
    ("subprogram", "reply"),
    [
        (["no-such-program"], b"-ERR authorization failed\r\n"),
        (["false"], b"-ERR authorization failed\r\n"),
        (["sh", "-c", "exit 111"], b"-ERR authorization failed\r\n"),
        (["sh", "-c", "kill -9 $$"], b"-ERR aack, child crashed\r\n"),
        (["true"], b""),
    ],
)
def test_how_the_subprogram_ends(box: Path, subprogram: list[str], reply: bytes) -> None:
    with popup(box, subprogram, environment()) as client:
        assert say(client, b"USER a", b"PASS b") == b"+OK\r\n+OK \r\n" + reply
    assert (b"Reject" if reply else b"Accept") in (box / "log").read_bytes()


def test_long_credentials_do_not_hang(box: Path) -> None:
    with popup(box, ["true"], environment()) as client:
        assert say(client, b"USER a", b"PASS " + b"x" * 500_000) == b"+OK\r\n+OK \r\n"


def test_line_without_end_closes_the_connection(box: Path) -> None:
    with popup(box, OWN, environment(QMAILHOME=str(box / "qmail"))) as client:
        try:
            for _ in range(40):
                client.sendall(b"x" * 65536)
        except (BrokenPipeError, ConnectionResetError):
            pass
        with pytest.raises(ConnectionResetError):  # closed with our bytes unread
            assert client.makefile("rb").read() == b"+OK\r\n"
            raise ConnectionResetError


def test_without_log(box: Path) -> None:
    with popup(box, OWN, environment(QMAILHOME=str(box / "qmail")), log_open=False) as client:
        assert say(client, b"USER ann", b"PASS word", b"QUIT") == b"+OK\r\n+OK \r\n+OK \r\n+OK \r\n"


def test_usage(box: Path) -> None:
    with popup(box, [], environment()) as client:
        assert client.makefile("rb").read() == b"-ERR usage: popup hostname subprogram\r\n"


def test_unreadable_user_file(box: Path) -> None:
    os.rename(box / "qmail/users/authuser", box / "qmail/users/other")
    (box / "qmail/users/authuser").mkdir(mode=stat.S_IRWXU)
    with popup(box, OWN, environment(QMAILHOME=str(box / "qmail"))) as client:
        assert say(client, b"USER ann", b"PASS word") == b"+OK\r\n+OK \r\n-ERR authorization failed\r\n"
