"""What depends on DNS, the clock, the environment or TLS, with a session in a made-up world."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.smtpd.fakes import FakeWorld, dialogue

SENDER = b"MAIL FROM:<a@b.c>\r\n"
RCPT = b"RCPT TO:<x@example.org>\r\n"
MESSAGE = SENDER + RCPT + b"DATA\r\nhi\r\n.\r\n"
LIST = b"553 sorry, your envelope sender must exist  (#5.7.1)\r\n"


def test_sender_host_missing(tmp_path: Path) -> None:
    world = FakeWorld()
    talk = dialogue(tmp_path, world, env={"MFDNSCHECK": ""})
    assert talk.feed(SENDER + RCPT) == b"250 ok\r\n" + LIST
    assert b"Reject::ORIG::DNS_MF P:ESMTP" in world.lines[0]


@pytest.mark.parametrize("where", ["names", "exchangers"])
def test_sender_host_exists(tmp_path: Path, where: str) -> None:
    world = FakeWorld()
    world.names["b.c"] = ["192.0.2.7"] if where == "names" else []
    world.exchangers["b.c"] = [(10, b"mx.b.c")] if where == "exchangers" else []
    assert dialogue(tmp_path, world, env={"MFDNSCHECK": ""}).feed(SENDER + RCPT) == b"250 ok\r\n" * 2


def test_sender_host_unknown_for_now(tmp_path: Path) -> None:
    world = FakeWorld()
    world.broken.add("b.c")
    talk = dialogue(tmp_path, world, env={"MFDNSCHECK": ""})
    assert talk.feed(SENDER + RCPT) == b"451 DNS temporary failure (#4.3.0)\r\n503 MAIL first (#5.5.1)\r\n"
    assert world.lines == []


def test_sender_host_is_not_asked_for(tmp_path: Path) -> None:
    world = FakeWorld()
    talk = dialogue(tmp_path, world, env={"MFDNSCHECK": ""}, control={"badmailfrom": "?a@b.c"})
    assert talk.feed(SENDER + RCPT + b"MAIL FROM:<>\r\n" + RCPT) == b"250 ok\r\n" * 4


@pytest.mark.parametrize("value", ["A", "M"])
def test_helo_must_resolve(tmp_path: Path, value: str) -> None:
    world = FakeWorld()
    world.names["good.net"] = ["192.0.2.7"]
    world.broken.add("broken.net")
    talk = dialogue(tmp_path, world, env={"HELOCHECK": value}, control={"badhelo": "white.net!\nbad.net"})
    for helo, reply in (
        (b"good.net", b"250 ok\r\n"),
        (b"white.net", b"250 ok\r\n"),
        (b"none.net", b"550 sorry, invalid HELO/EHLO greeting  (#5.7.1)\r\n"),
        (b"bad.net", b"550 sorry, invalid HELO/EHLO greeting  (#5.7.1)\r\n"),
        (b"broken.net", b"451 DNS temporary failure (#4.3.0)\r\n"),
    ):
        talk.feed(b"HELO " + helo + b"\r\n" + SENDER)
        assert talk.feed(RCPT) == reply, helo
    assert b"Reject::SNDR::DNS_Helo P:ESMTP S:192.0.2.9:host.client.net H:none.net" in world.lines[2]
    assert world.lines[2].endswith(f" '{value}'\n".encode())
    assert world.lines[3].endswith(b" '.'\n")


@pytest.mark.parametrize("value", ["!", "long value", "", "x"])
def test_other_helochecks(tmp_path: Path, value: str) -> None:
    world = FakeWorld()
    talk = dialogue(tmp_path, world, env={"HELOCHECK": value}, control={"badhelo": "bad.net"})
    listed = value in ("", "long value")
    talk.feed(b"HELO bad.net\r\n" + SENDER)
    assert talk.feed(RCPT)[:3] == (b"550" if listed else b"250")
    talk.feed(b"HELO\r\n" + SENDER)
    assert talk.feed(RCPT)[:3] == (b"550" if value == "!" else b"250")


def test_misspelt_helocheck(tmp_path: Path) -> None:
    talk = dialogue(tmp_path, FakeWorld(), env={"HELCOCHEK": "."})
    assert talk.feed(SENDER + RCPT)[8:11] == b"550"


def test_relay_clients_may_say_any_helo(tmp_path: Path) -> None:
    talk = dialogue(tmp_path, FakeWorld(), env={"HELOCHECK": ".", "MFDNSCHECK": "", "RELAYCLIENT": ""})
    assert talk.feed(SENDER + RCPT) == b"250 ok\r\n" * 2


def test_tarpit(tmp_path: Path) -> None:
    world = FakeWorld()
    talk = dialogue(tmp_path, world, env={"TARPITCOUNT": "2", "TARPITDELAY": "7"})
    talk.feed(SENDER + RCPT)
    assert world.pauses == []
    talk.feed(RCPT + RCPT)
    assert world.pauses == [7, 7]
    talk.feed(SENDER + RCPT)
    assert world.pauses == [7, 7]


def test_notorious(tmp_path: Path) -> None:
    world = FakeWorld()
    talk = dialogue(tmp_path, world, env={"TARPITCOUNT": "1", "TARPITDELAY": "999"})
    talk.feed(SENDER + RCPT)
    talk.session.failed_recipients = 1
    assert talk.feed(RCPT) == b"452 sorry, too many recipients (#4.5.3)\r\n"
    assert talk.feed(b"DATA\r\n") == b"503 DATA command not accepted at this time (#5.5.1)\r\n"
    assert talk.code == 1
    assert world.pauses == []
    assert world.queues == []


@pytest.mark.parametrize(
    ("address", "becomes"),
    [
        (b"u@[192.0.2.1]", b"u@me.example.org"),
        (b"u@[::1]", b"u@me.example.org"),
        (b"u@[IPv6:2001:DB8:0::1]", b"u@me.example.org"),
        (b"u@[192.0.2.2]", b"u@[192.0.2.2]"),
        (b"u@[192.0.2.1]x", b"u@[192.0.2.1]x"),
        (b"u@[192.0.2.1", b"u@[192.0.2.1"),
        (b"u@[IPv6:192.0.2.1]", b"u@[IPv6:192.0.2.1]"),
        (b"u@[]", b"u@[]"),
        (b"u@[\xff\xfe]", b"u@[\xff\xfe]"),
        (b"u@192.0.2.1", b"u@192.0.2.1"),
    ],
)
def test_localiphost(tmp_path: Path, address: bytes, becomes: bytes) -> None:
    world = FakeWorld()
    talk = dialogue(tmp_path, world, control={"localiphost": "me.example.org"}, env={"RELAYCLIENT": ""})
    talk.feed(b"MAIL FROM:<" + address + b">\r\nRCPT TO:<" + address + b">\r\nDATA\r\n.\r\n")
    assert world.queues[0].sent == (becomes, [becomes])


def test_mail_auth_is_shown_but_proves_nothing(tmp_path: Path) -> None:
    world = FakeWorld()
    talk = dialogue(tmp_path, world)
    talk.feed(b"MAIL FROM:<a@b.c> AUTH=e+3Dmc2+00\r\n" + RCPT + b"DATA\r\n.\r\n")
    assert b"(e=mc2?@192.0.2.9)" in world.queues[0].message
    assert world.environments[0]["TCPREMOTEINFO"] == world.environments[0]["TCP6REMOTEINFO"] == "e=mc2?"
    assert "with ESMTP;" in world.queues[0].message.decode()
    assert talk.feed(b"MAIL FROM:<a@b.c> AUTH=other\r\nRCPT TO:<x@other.org>\r\n")[8:11] == b"553"


@pytest.mark.parametrize(("value", "shown"), [("", b"(unknown@"), ("known", b"(known@")])
def test_mail_auth_of_nobody(tmp_path: Path, value: str, shown: bytes) -> None:
    world = FakeWorld()
    talk = dialogue(tmp_path, world, env={"TCPREMOTEINFO": value} if value else {})
    talk.feed(b"MAIL FROM:<a@b.c> AUTH=<>\r\n" + RCPT + b"DATA\r\n.\r\n")
    assert shown in world.queues[0].message


def test_environment_of_the_queue_program(tmp_path: Path) -> None:
    world = FakeWorld()
    talk = dialogue(tmp_path, world, env={"DELIVERTO": "q@h"})
    talk.feed(b"EHLO me\r\n" + MESSAGE + SENDER + RCPT + b"RCPT TO:<y@example.org>\r\nDATA\r\n.\r\n")
    first, second = world.environments
    assert (first["HELOHOST"], first["MAILFROM"], first["RCPTTO"]) == ("me", "a@b.c", "q@h x@example.org ")
    assert second["RCPTTO"] == "q@h x@example.org y@example.org "
    assert world.queues[1].sent == (b"a@b.c", [b"q@h", b"x@example.org", b"y@example.org"])


def test_rbl_info_follows_received(tmp_path: Path) -> None:
    world = FakeWorld()
    dialogue(tmp_path, world, env={"RBLSMTPD": "-[x] listed"}).feed(MESSAGE)
    assert b"-0000\nX-RBL-Info: listed\nhi\n" in world.queues[0].message


TLS = {
    "SSL_PROTOCOL": "TLSv1.3",
    "SSL_CIPHER": "AES256",
    "SSL_CIPHER_USEKEYSIZE": "128",
    "SSL_CIPHER_ALGKEYSIZE": "256",
}


@pytest.mark.parametrize("port", ["465", "2465"])
def test_tls_at_connect(tmp_path: Path, port: str) -> None:
    world = FakeWorld()
    talk = dialogue(tmp_path, world, env={"TCPLOCALPORT": port, **TLS})
    talk.feed(MESSAGE)
    assert b"\n  de/crypted with TLSv1.3: AES256 [128/256] DN=none\n  by " in world.queues[0].message
    assert b"with ESMTPS; " in world.queues[0].message
    assert b" P:ESMTPS " in world.lines[0]


def test_tls_is_not_believed_on_port_25(tmp_path: Path) -> None:
    world = FakeWorld()
    dialogue(tmp_path, world, env={"SSL_CLIENT_S_DN": "x", **TLS}).feed(MESSAGE)
    assert b"with ESMTP; " in world.queues[0].message


def test_client_certificate(tmp_path: Path) -> None:
    world = FakeWorld()
    name = {"SSL_CLIENT_S_DN": "/CN=joe/O=x", "SSL_CLIENT_S_DN_CN": "joe"}
    talk = dialogue(tmp_path, world, env={"TCPLOCALPORT": "465", **TLS, **name})
    talk.feed(SENDER + b"RCPT TO:<x@other.net>\r\nDATA\r\n.\r\n")
    assert world.lines == [
        b"qmail-smtpd: pid 4711 Accept::AUTH::cert P:ESMTPSA S:192.0.2.9:host.client.net H: F:a@b.c T:x@other.net ?~ 'joe'\n"
    ]
    assert b" (joe@192.0.2.9)\n  de/crypted with TLSv1.3: AES256 [128/256] DN=/CN=joe/O=x\n" in world.queues[0].message


def test_looping_message_is_read_to_its_end_and_dropped(tmp_path: Path) -> None:
    world = FakeWorld()
    talk = dialogue(tmp_path, world)
    talk.feed(SENDER + RCPT + b"DATA\r\n" + b"Received: x\r\n" * 100 + b"\r\n")
    assert talk.feed(b"body\r\n.\r\n") == b"554 too many hops, this message is looping (#5.4.6)\r\n"
    assert world.queues[0].failed
    assert world.queues[0].closed
    assert world.queues[0].sent is None


def test_disconnect_in_data_drops_the_message(tmp_path: Path) -> None:
    world = FakeWorld()
    talk = dialogue(tmp_path, world)
    talk.feed(SENDER + RCPT + b"DATA\r\nhalf\r\n")
    talk.disconnected()
    assert world.queues[0].failed
    assert world.queues[0].closed
    assert talk.code == 1


def test_virus_scanner_is_named(tmp_path: Path) -> None:
    world = FakeWorld(code=32)
    dialogue(tmp_path, world, env={"QHPSI": "clamscan"}).feed(MESSAGE)
    assert world.lines[1].endswith(b"T:x@example.org 'clamscan'\n")


def test_queue_that_dropped_silently(tmp_path: Path) -> None:
    """Exit code 0 after we failed the message ourselves is no success."""
    world = FakeWorld()
    talk = dialogue(tmp_path, world, env={"DATABYTES": "1"})
    assert talk.feed(MESSAGE).endswith(b"552 sorry, that message size exceeds my databytes limit (#5.3.4)\r\n")


def test_hard_cap_on_recipients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qmail.smtpd.policy.limits.MOST_RECIPIENTS", 3)
    talk = dialogue(tmp_path, FakeWorld())
    assert talk.feed(SENDER + RCPT * 4).endswith(b"250 ok\r\n452 sorry, too many recipients (#4.5.3)\r\n")


def test_every_split_of_a_conversation(tmp_path: Path) -> None:
    """Where the network cuts the client's bytes changes nothing."""
    text = b"EHLO x\r\n" + MESSAGE + b"BOGUS\r\n" + MESSAGE + b"QUIT\r\n"
    whole_world = FakeWorld()
    whole = dialogue(tmp_path, whole_world).feed(text)
    assert whole.endswith(b"221 mx.example.org\r\n")
    for cut in range(len(text)):
        world = FakeWorld()
        talk = dialogue(tmp_path, world)
        assert talk.feed(text[:cut]) + talk.feed(text[cut:]) == whole
        assert [queue.message for queue in world.queues] == [queue.message for queue in whole_world.queues]


def test_warm_worker_sees_an_edit(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    talk = dialogue(tmp_path, FakeWorld())
    assert talk.feed(SENDER + b"RCPT TO:<x@new.net>\r\n")[8:11] == b"553"
    talk = dialogue(tmp_path, FakeWorld(), control={"rcpthosts": "new.net"})
    assert talk.feed(SENDER + b"RCPT TO:<x@new.net>\r\n") == b"250 ok\r\n" * 2


@pytest.mark.parametrize("name", ["rcpthosts", "badmailfrom", "badrcptto", "timeoutsmtpd", "me"])
def test_a_directory_is_no_control_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "control" / name).mkdir(parents=True)
    files = {other: "x" for other in ("me", "rcpthosts") if other != name}
    with pytest.raises(OSError):
        dialogue(tmp_path, FakeWorld(), control=files)
