"""qmail-remote against a scripted server: every row of the dialogue table (delivery 8.3), exact reports."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.remote.servers import SmtpServer, smtp_server
from tests.support import environment, ours, peer, run, spawn, wait_for

MESSAGE = b"Subject: hi\n\n.dot\nlast\n"
OK = b"r\0K127.0.0.1 accepted message.\nRemote host said: 250 ok\n\0"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that says EHLO mail.example.org and waits two seconds at most."""
    control = tmp_path / "control"
    control.mkdir()
    (tmp_path / "queue/lock").mkdir(parents=True)
    (tmp_path / "queue/lock/tcpto").write_bytes(bytes(1024))
    (control / "me").write_text("mail.example.org\n")
    (control / "timeoutconnect").write_text("2\n")
    (control / "timeoutremote").write_text("2\n")
    return tmp_path


def deliver(
    home: Path, port: int, *recipients: str, message: bytes = MESSAGE, sender: str = "me@here.example", **env: str
) -> bytes:
    """The reports for a message to there.example, routed to a port on loopback."""
    (home / "control/smtproutes").write_text(f"there.example:127.0.0.1;{port}\n")
    return remote(home, "there.example", sender, *(recipients or ("you@there.example",)), message=message, **env)


def remote(home: Path, *words: str, message: bytes = MESSAGE, **env: str) -> bytes:
    """Run qmail-remote WORDS and return its reports; it always exits 0."""
    (home / "message").write_bytes(message)
    env = environment(QMAILHOME=str(home), **env)
    with open(home / "message", "rb") as file, spawn([ours("qmail-remote"), *words], env=env, stdin=file) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")
    return out


def test_good_delivery(home: Path) -> None:
    with smtp_server() as server:
        assert deliver(home, server.port) == OK
    talk = server.talks[0]
    assert talk.commands == [
        b"EHLO mail.example.org\r\n",
        b"MAIL FROM:<me@here.example>\r\n",
        b"RCPT TO:<you@there.example>\r\n",
        b"DATA\r\n",
        b"QUIT\r\n",
    ]
    assert talk.message == b"Subject: hi\r\n\r\n..dot\r\nlast\r\n"


IP = b"127.0.0.1"
ROWS: list[tuple[dict[str, bytes | float | None], bytes]] = [
    ({"": b"554 go away\r\n"}, b"DConnected to %b but sender was rejected.\nRemote host said: 554 go away\n\0"),
    ({"": b"421 later\r\n"}, b"ZConnected to %b but greylisted.\nRemote host said: 421 later\n\0"),
    ({"": b"450 later\r\n"}, b"ZConnected to %b but greylisted.\nRemote host said: 450 later\n\0"),
    ({"": b"430 later\r\n"}, b"ZSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n\0"),
    ({"": b"200 odd\r\n"}, b"ZConnected to %b but greeting failed.\nRemote host said: 200 odd\n\0"),
    ({"": b"garbage\r\n"}, b"ZSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n\0"),
    ({"": None}, b"ZConnected to %b but connection died. (#4.4.2)\n\0"),
    ({"": 3.0}, b"ZConnected to %b but connection died. (#4.4.2)\n\0"),
    ({"EHLO": b"502 no\r\n"}, OK.replace(b"%", b"%%").replace(IP, b"%b")),
    (
        {"EHLO": b"502 no\r\n", "HELO": b"550 nor\r\n"},
        b"DConnected to %b but my name was rejected.\nRemote host said: 550 nor\n\0",
    ),
    (
        {"EHLO": b"502 no\r\n", "HELO": b"450 nor\r\n"},
        b"ZConnected to %b but my name was rejected.\nRemote host said: 450 nor\n\0",
    ),
    (
        {"EHLO": b"502 no\r\n", "HELO": b"220 what\r\n"},
        b"ZConnected to %b but my name was rejected.\nRemote host said: 220 what\n\0",
    ),
    ({"EHLO": None}, b"ZConnected to %b but connection died. (#4.4.2)\n\0"),
    ({"MAIL": b"553 no\r\n"}, b"DConnected to %b but sender was rejected.\nRemote host said: 553 no\n\0"),
    ({"MAIL": b"451 no\r\n"}, b"ZConnected to %b but sender was greylisted.\nRemote host said: 451 no\n\0"),
    ({"MAIL": None}, b"ZConnected to %b but connection died. (#4.4.2)\n\0"),
    (
        {"RCPT": b"550 no\r\n"},
        b"h%b does not like recipient.\nRemote host said: 550 no\n\0DGiving up on 127.0.0.1.\n\0",
    ),
    (
        {"RCPT": b"450 no\r\n"},
        b"s%b probably greylisting.\nRemote host said: 450 no\n\0DGiving up on 127.0.0.1.\n\0",
    ),
    (
        {"RCPT": b"421 no\r\n"},
        b"s%b probably greylisting.\nRemote host said: 421 no\n\0DGiving up on 127.0.0.1.\n\0",
    ),
    (
        {"RCPT": b"452 no\r\n"},
        b"s%b does not like recipient.\nRemote host said: 452 no\n\0DGiving up on 127.0.0.1.\n\0",
    ),
    ({"DATA": b"554 no\r\n"}, b"r\0D%b failed on DATA command.\nRemote host said: 554 no\n\0"),
    ({"DATA": b"451 no\r\n"}, b"r\0Z%b message was greylisted.\nRemote host said: 451 no\n\0"),
    ({"DATA": b"452 no\r\n"}, b"r\0Z%b failed on DATA command.\nRemote host said: 452 no\n\0"),
    ({"DATA": None}, b"r\0ZConnected to %b but connection died. (#4.4.2)\n\0"),
    ({".": b"554 no\r\n"}, b"r\0D%b failed after I sent the message.\nRemote host said: 554 no\n\0"),
    ({".": b"451 no\r\n"}, b"r\0Z%b failed after I sent the message.\nRemote host said: 451 no\n\0"),
    ({".": None}, b"r\0ZConnected to %b but connection died. Possible duplicate! (#4.4.2)\n\0"),
    ({".": 3.0}, b"r\0ZConnected to %b but connection died. Possible duplicate! (#4.4.2)\n\0"),
    (
        {".": b"250-one\r\n250-two\r\n250 three\r\n"},
        b"r\0K%b accepted message.\nRemote host said: 250-one\n250-two\n250 three\n\0",
    ),
    ({".": b"250 a\0b\rc\r\n"}, b"r\0K%b accepted message.\nRemote host said: 250 a?bc\n\0"),
    ({".": b"250\n"}, b"r\0K%b accepted message.\nRemote host said: 250\n\0"),
    ({"QUIT": None}, OK.replace(IP, b"%b")),
]


@pytest.mark.parametrize(("script", "reports"), ROWS, ids=[str(row[0]) for row in ROWS])
def test_row(script: dict[str, bytes | float | None], reports: bytes, home: Path) -> None:
    with smtp_server(script) as server:
        assert deliver(home, server.port) == (reports % IP if b"%b" in reports else reports)
    talk = server.talks[0]
    hung_up = any(not isinstance(value, bytes) for value in script.values())
    assert hung_up or talk.commands[-1] == b"QUIT\r\n"


def test_reports_in_argument_order(home: Path) -> None:
    script = {"RCPT TO:<no@": b"550 no\r\n", "RCPT TO:<later@": b"450 later\r\n"}
    with smtp_server(script) as server:
        reports = deliver(home, server.port, "a@there.example", "no@there.example", "later@there.example", "b@x")
    assert reports == (
        b"r\0h127.0.0.1 does not like recipient.\nRemote host said: 550 no\n\0"
        b"s127.0.0.1 probably greylisting.\nRemote host said: 450 later\n\0"
        b"r\0K127.0.0.1 accepted message.\nRemote host said: 250 ok\n\0"
    )


def test_addresses_are_quoted(home: Path) -> None:
    with smtp_server() as server:
        deliver(home, server.port, "a b@there.example", 'q"q@there.example', "plain", sender="")
    assert server.talks[0].commands[1:5] == [
        b"MAIL FROM:<>\r\n",
        b'RCPT TO:<"a b"@there.example>\r\n',
        b'RCPT TO:<"q\\"q"@there.example>\r\n',
        b"RCPT TO:<plain>\r\n",
    ]


@pytest.mark.parametrize(
    ("extensions", "parameters"),
    [
        (b"250-there\r\n250-SIZE 100\r\n250 8BITMIME\r\n", b" SIZE=23"),
        (b"250-SIZE\r\n250 PIPELINING\r\n", b""),
        (b"250-there\r\n250-SMTPUTF8\r\n250 size\r\n", b" SIZE=23"),
    ],
)
def test_mail_parameters(extensions: bytes, parameters: bytes, home: Path) -> None:
    with smtp_server({"EHLO": extensions}) as server:
        assert deliver(home, server.port) == OK
    assert server.talks[0].commands[1] == b"MAIL FROM:<me@here.example>%b\r\n" % parameters


def test_smtputf8(home: Path) -> None:
    with smtp_server({"EHLO": b"250-there\r\n250 SMTPUTF8\r\n"}) as server:
        deliver(home, server.port, "gr\u00fc\u00dfe@there.example")
    assert server.talks[0].commands[1] == b"MAIL FROM:<me@here.example> SMTPUTF8\r\n"


def test_long_reply_is_cut(home: Path) -> None:
    with smtp_server({".": b"".join(b"250-%04d %b\r\n" % (n, b"x" * 90) for n in range(100)) + b"250 end\r\n"}) as server:
        reports = deliver(home, server.port)
    text = reports.partition(b"Remote host said: ")[2][:-1]
    assert len(text) == 5000 and text.startswith(b"250-0000 xxx")


def test_endless_reply_ends(home: Path) -> None:
    with smtp_server({"": b"220-more\r\n" * 200_000}) as server:
        assert deliver(home, server.port) == b"ZConnected to 127.0.0.1 but connection died. (#4.4.2)\n\0"


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 300_000])
def test_block_borders(size: int, home: Path) -> None:
    line = b".line\n"
    message = (b"." * (size % len(line)) + line * (size // len(line)))[:size]
    if message and not message.endswith(b"\n"):
        message = message[:-1] + b"\n"
    with smtp_server() as server:
        assert deliver(home, server.port, message=message) == OK
    expected = b"".join(
        (b"." if part.startswith(b".") else b"") + part[:-1] + b"\r\n" for part in message.splitlines(keepends=True)
    )
    assert server.talks[0].message == expected


def test_carriage_returns_are_data(home: Path) -> None:
    with smtp_server() as server:
        assert deliver(home, server.port, message=b"a\r\nb\rc\n") == OK
    assert server.talks[0].message == b"a\r\r\nb\rc\r\n"


def test_partial_last_line(home: Path) -> None:
    with smtp_server() as server:
        reports = deliver(home, server.port, message=b"x\ny")
    assert reports == b"r\0DSMTP cannot transfer messages with partial final lines. (#5.6.2)\n\0"
    assert server.talks[0].commands[-1] == b"DATA\r\n" and b".\r\n" not in server.talks[0].message


def test_message_that_cannot_be_read(home: Path) -> None:
    with smtp_server() as server:
        (home / "control/smtproutes").write_text(f":127.0.0.1;{server.port}\n")
        result = run(
            ["sh", "-c", f'exec "{ours("qmail-remote")}" x s@x r@x <&-'], env=environment(QMAILHOME=str(home)), cwd=home
        )
    assert result.stdout == b"r\0ZUnable to read message. (#4.3.0)\n\0"


def test_nobody_listens(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert deliver(home, port) == b"ZSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n\0"


@pytest.mark.parametrize("words", [[], ["host"], ["host", "sender"]])
def test_improper(words: list[str], home: Path) -> None:
    assert remote(home, *words) == b"Dqmail-remote was invoked improperly. (#5.3.5)\n\0"


def test_home_and_controls(home: Path, tmp_path: Path) -> None:
    nowhere = run([ours("qmail-remote"), "h", "s", "r"], env=environment(QMAILHOME=str(tmp_path / "nowhere")))
    assert (nowhere.returncode, nowhere.stdout) == (0, b"ZUnable to switch to home directory. (#4.3.0)\n\0")
    (home / "control/me").unlink()
    assert remote(home, "h", "s", "r") == b"ZUnable to read control files. (#4.3.0)\n\0"
    (home / "control/helohost").write_text("helo.example\n")
    (home / "control/smtproutes").mkdir()
    assert remote(home, "h", "s", "r") == b"ZUnable to read control files. (#4.3.0)\n\0"


def test_helohost(home: Path) -> None:
    (home / "control/helohost").write_text("helo.example\n")
    with smtp_server() as server:
        deliver(home, server.port)
    assert server.talks[0].commands[0] == b"EHLO helo.example\r\n"


def hello_of(server: SmtpServer) -> bytes:
    """The first command of the last client."""
    return server.talks[-1].commands[0]


def test_binding(home: Path) -> None:
    (home / "control/domainips").write_text("here.example:127.0.0.2|bound.example\n.sub.example:127.0.0.3\n*:198.51.100.1\n")
    with smtp_server() as server:
        assert deliver(home, server.port) == OK
        assert hello_of(server) == b"EHLO bound.example\r\n"
        assert deliver(home, server.port, sender="x@a.sub.example") == OK
        assert hello_of(server) == b"EHLO mail.example.org\r\n"
        refused = deliver(home, server.port, sender="x@other.example")
        assert refused == b"ZCan't bind to local ip address: 198.51.100.1. (#4.3.0)\n\0"
    (home / "control/domainips").write_text("*:nonsense\n")
    assert deliver(home, 1) == b"ZInvalid ipaddr in control/domainips (#4.3.0)\n\0"


def test_smtp_sink(home: Path) -> None:
    """A real receiver takes what we send."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    with spawn([peer("smtp-sink"), *user, f"127.0.0.1:{port}", "10"], cwd="/") as sink:
        wait_for(lambda: sink.poll() is None and _listens(port))
        message = b"Subject: sink\n\n" + b".x\n" * 50_000
        assert deliver(home, port, "a@there.example", "b@there.example", message=message).startswith(b"r\0r\0K127.0.0.1 ")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
