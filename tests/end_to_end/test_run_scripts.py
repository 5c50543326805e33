"""The ten run scripts of an s/qmail installation, as they are: they start as root, with our commands first on PATH, and serve.

They run in namespaces of their own, with accounts, /var/qmail, /var/log and a network that are not the machine's.
"""

from __future__ import annotations

import os
import poplib
import re
import smtplib
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from qserver.launch import COMMANDS
from tests.end_to_end.run_scripts import zone
from tests.end_to_end.run_scripts.clients import (
    LOGIN,
    MESSAGE,
    PORTS,
    SERVICES,
    arrive,
    expected,
    fetch,
    is_chrooted,
    logged,
    smtp,
    unverified,
    verified,
)
from tests.end_to_end.run_scripts.inside import ACCOUNTS, HOST, PASSWORD
from tests.end_to_end.run_scripts.world import World, created, identity
from tests.support import peer, run, wait_for

pytestmark = pytest.mark.root

SECURE = [name for name in PORTS if name not in ("qmail-qmtpd", "qmail-qmqpd")]
AT_ONCE = {465: b"220 ", 995: b"+OK"}
WHEN_ASKED = {25: b"220 ", 587: b"220 ", 110: b"+OK"}
MISSING = {"qmail-qmtpd": ("qmail-qmtpd", "qmail-qmtpsd"), "qmail-qmqpd": ("qmail-qmqpd",)}


@pytest.fixture(scope="module", params=["0", "1"], ids=["called", "executed"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world with all services for the tests that leave them as they are; programs are called, or exec'd as C's are."""
    peer("hostname")
    with created(tmp_path_factory.mktemp("world"), SERVICES, QSERVER_EXEC=request.param) as running:
        wait_for(lambda: running.ports() == set(PORTS.values()), timeout=30)
        yield running


def read(path: Path) -> str:
    """The file's text, once it is there."""
    return path.read_text() if path.exists() else ""


# starting


def test_the_machine_is_out_of_reach(world: World) -> None:
    for directory in ("/tmp", "/usr", "/var/tmp"):
        assert b"Read-only file system" in world.run("touch", f"{directory}/qserver-test").stderr
    for place in ("/var", "/var/log", "/var/qmail", "/service", "/etc", "/etc/passwd", "/run"):
        assert world.path(place).stat().st_dev == world.root.stat().st_dev


def test_every_service_is_up_and_listens_on_its_port(world: World) -> None:
    told = world.ours("svstat", *(f"/service/{name}" for name in SERVICES)).stdout.decode()
    assert re.findall(r"^/service/(\S+): up \(pid \d+\) \d+ seconds$", told, re.MULTILINE) == list(SERVICES), told
    assert world.ports() == set(PORTS.values())


def test_log_directories_are_made_and_announced(world: World) -> None:
    for name in SERVICES:
        logged(world, name, ".*status: .*")
    said = world.path("/var/log/svscan").read_text()
    for name in SERVICES:
        assert f"Creating log dir for {name}:\n" in said
        assert re.search(rf"^drwxr-xr-x \d+ qmaill nofiles .* /var/log/{name}$", said, re.MULTILINE)
    assert "fatal" not in said
    assert "warning" not in said


@pytest.mark.parametrize("name", SECURE)
def test_weak_parameters_of_the_sample_are_ignored(world: World, name: str) -> None:
    logged(world, name, r"sslserver: warning: DH parameters too weak, ignored: /var/qmail/ssl/dh1024\.pem")
    logged(world, name, r"sslserver: cert \d+ /var/qmail/ssl/localhost\.pem")
    logged(world, name, r"sslserver: key \d+ /var/qmail/ssl/localhost\.key")
    logged(world, name, "sslserver: status: 0/40/40")


@pytest.mark.parametrize("family", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("port", [*WHEN_ASKED, *AT_ONCE])
def test_greetings(world: World, port: int, family: str) -> None:
    with world.network(), socket.create_connection((family, port), timeout=20) as plain:
        client = verified(world).wrap_socket(plain, server_hostname=HOST) if port in AT_ONCE else plain
        with client:
            greeting = client.recv(512)
    assert greeting.startswith((WHEN_ASKED | AT_ONCE)[port]), greeting


def test_deliveries_have_no_environment_but_path(world: World) -> None:
    """env - takes even QMAILHOME away."""
    wait_for(lambda: "status: local 0/10 remote 0/20\n" in world.log("qmail-send"))
    instruction = world.path("/var/users/bob/.qmail-environment")
    instruction.write_text("|env > environment.new && mv environment.new environment\n")
    with world.network(), smtp(25) as client:
        client.sendmail("sender@example.net", [f"bob-environment@{HOST}"], MESSAGE)
    told = wait_for(lambda: read(world.path("/var/users/bob/environment")))
    variables = dict(line.split("=", 1) for line in told.splitlines() if re.match(r"\w+=", line))
    assert variables["PATH"].startswith("/var/qmail/bin:")
    assert variables["USER"] == "bob"
    assert "TZ" not in variables


# serving


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_mail_by_port_25_is_delivered(world: World, name: str) -> None:
    with world.network(), smtp(25) as client:
        client.sendmail("sender@example.net", [f"{name}@{HOST}"], MESSAGE.replace(b"hello", b"plain"))
    head, _, body = arrive(world, name, b"plain").partition(b"\n\n")
    assert head.startswith(b"Return-Path: <sender@example.net>\nDelivered-To: " + f"{name}@{HOST}".encode())
    assert b"from localhost (HELO client.example.net) (127.0.0.1)" in head
    assert f"by {HOST} with ESMTP; ".encode() in head
    # the worker may not write the queue; the service did, for uid qmaild
    assert re.search(rb"^Received: \(qmail \d+ invoked from network\); ", head, re.MULTILINE)
    assert body == b"body\n.leading dot\n"
    logged(world, "qmail-send", rf"info msg \d+: bytes \d+ from <sender@example\.net> qp \d+ uid {ACCOUNTS['qmaild'][0]}")
    logged(world, "qmail-send", rf"starting delivery \d+: msg \d+ to local {name}@{HOST}")


def test_mail_by_port_465_is_delivered(world: World) -> None:
    with world.network(), smtplib.SMTP_SSL("127.0.0.1", 465, timeout=20, context=unverified(), local_hostname="c") as client:
        client.sendmail("sender@example.net", [f"alice@{HOST}"], MESSAGE.replace(b"hello", b"secure"))
    assert f"by {HOST} with ESMTPS; ".encode() in arrive(world, "alice", b"secure")
    logged(world, "qmail-smtpsd", r"sslserver: tls \d+ accept TLSv1\.3:TLS_\w+")


NO_STARTTLS = pytest.mark.xfail(strict=True, reason="qmail-smtpd offers no STARTTLS yet")


@NO_STARTTLS
def test_mail_by_port_25_with_starttls_is_delivered(world: World) -> None:
    with world.network(), smtp(25) as client:
        client.starttls(context=unverified())
        client.sendmail("sender@example.net", [f"alice@{HOST}"], MESSAGE.replace(b"hello", b"starttls"))
    assert f"by {HOST} with ESMTPS; ".encode() in arrive(world, "alice", b"starttls")


@pytest.mark.xfail(strict=True, reason="qmail-smtpd offers no STARTTLS and no AUTH yet")
def test_submission_demands_authentication(world: World) -> None:
    with world.network(), smtp(587) as client:
        client.starttls(context=unverified())
        client.ehlo()
        refused, text = client.mail("sender@example.net")
        assert (refused, text) == (535, b"authentication required (#5.7.1)")
        client.login(LOGIN, PASSWORD)
        client.sendmail(LOGIN, [f"bob@{HOST}"], MESSAGE.replace(b"hello", b"submitted"))
    assert f"by {HOST} with ESMTPSA; ".encode() in arrive(world, "bob", b"submitted")


@pytest.mark.parametrize("port", [110, 995])
def test_pop3_with_tls(world: World, port: int) -> None:
    subject = f"by {port}".encode()
    with world.network():
        with smtp(25) as sender:
            sender.sendmail("sender@example.net", [f"alice@{HOST}"], MESSAGE.replace(b"hello", subject))

        def fetched() -> list[bytes]:
            if port == 995:
                return fetch(poplib.POP3_SSL("127.0.0.1", port, timeout=20, context=unverified()))
            client = poplib.POP3("127.0.0.1", port, timeout=20)
            client.stls(unverified())
            return fetch(client)

        got = wait_for(fetched)
    assert any(b"Subject: " + subject in message for message in got)


@pytest.mark.parametrize(
    ("port", "protocol"),
    [*(pytest.param(port, "smtp", marks=NO_STARTTLS) for port in (25, 587)), (110, "pop3"), (465, ""), (995, "")],
)
def test_openssl_is_content(world: World, port: int, protocol: str) -> None:
    with world.network():
        told = run(
            [
                peer("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-verify_return_error", "-verify_hostname", HOST,
                "-CAfile", str(world.path("/var/qmail/ssl/localhost.pem")), *(("-starttls", protocol) if protocol else ()),
            ],
            input=b"QUIT\r\n",
        )  # fmt: skip
    assert told.returncode == 0, told
    assert b"Verify return code: 0 (ok)" in told.stdout


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (b"EHLO client.example.net\r\n", "wrong version number"),
        (b"\x16\x03\x01\xff\xff\x01" + bytes(99), "packet length too long"),
        (b"", "unexpected eof while reading"),
        (b"\x16\x03\x01", "unexpected eof while reading"),
    ],
    ids=["smtp", "garbage", "nothing", "half"],
)
@pytest.mark.parametrize("name", ["qmail-smtpsd", "qmail-pop3sd"])
def test_what_is_no_tls_is_refused_from_within_the_chroot(world: World, name: str, words: bytes, reason: str) -> None:
    before = len(world.log(name))
    with world.network(), socket.create_connection(("127.0.0.1", PORTS[name]), timeout=20) as client:
        port = client.getsockname()[1]
        client.sendall(words)
        client.shutdown(socket.SHUT_WR)
        while client.recv(512):
            continue

    def given() -> re.Match[str] | None:
        text = world.log(name)[before:]
        ok = re.search(rf"^sslserver: ok (\d+) .*::{port}$", text, re.MULTILINE)
        fatal = r"^sslserver: fatal: \(111\) unable to accept TLS from: 127\.0\.0\.1 for pid: "
        return ok and re.search(rf"{fatal}{ok[1]} (.*)$", text, re.MULTILINE)

    found = wait_for(given)
    assert found is not None
    assert found[1] == reason


@pytest.mark.parametrize(("source", "code"), [("127.0.0.1", 250), ("::1", 250), (zone.STRANGER, 553)])
def test_rules_say_who_may_relay(world: World, source: str, code: int) -> None:
    """The nets that the sample lists; others may send to us."""
    with world.network(), smtp(25, source=source) as client:
        client.ehlo()
        client.mail("sender@example.net")
        assert client.rcpt("somebody@elsewhere.example")[0] == code
        assert client.rcpt(f"alice@{HOST}")[0] == 250


@pytest.mark.parametrize("source", [zone.NAMELESS, zone.LIAR])
def test_rules_want_a_name_that_leads_back(world: World, source: str) -> None:
    with world.network(), pytest.raises(smtplib.SMTPServerDisconnected):
        smtp(25, source=source)
    logged(world, "qmail-smtpd", rf"sslserver: deny \d+ {HOST}:127\.0\.0\.1:25 :{source}::\d+")


def test_rules_keep_strangers_from_qmqp(world: World) -> None:
    with (
        world.network(),
        socket.create_connection(("127.0.0.1", 628), timeout=20, source_address=(zone.STRANGER, 0)) as client,
    ):
        assert client.recv(1) == b""
    logged(world, "qmail-qmqpd", rf"tcpserver: deny \d+ {HOST}:127\.0\.0\.1:628 named\.example\.net:{zone.STRANGER}::\d+")


# QMTP and QMQP


def netstring(data: bytes) -> bytes:
    return b"%d:%s," % (len(data), data)


def needs(command: str) -> pytest.MarkDecorator:
    """The test counts as soon as the command exists."""
    return pytest.mark.xfail(command not in COMMANDS, strict=True, reason=f"there is no {command} yet")


@needs("qmail-qmtpd")
@pytest.mark.parametrize("port", [209, 6209])
def test_qmtp(world: World, port: int) -> None:
    subject = f"qmtp {port}".encode()
    message = b"\nSubject: " + subject + b"\n\nbody\n"
    order = netstring(message) + netstring(b"sender@example.net") + netstring(netstring(f"alice@{HOST}".encode()))
    with world.network(), socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        client = unverified().wrap_socket(plain) if port == 6209 else plain
        with client:
            client.sendall(order)
            assert re.fullmatch(rb"\d+:K Ok \d+ qp \d+,", client.recv(512))
    assert f"by {HOST} with QMTP{'S' if port == 6209 else ''}; ".encode() in arrive(world, "alice", subject)


@needs("qmail-qmqpd")
def test_qmqp(world: World) -> None:
    parts = (b"Subject: qmqp\n\nbody\n", b"sender@example.net", f"alice@{HOST}".encode())
    with world.network(), socket.create_connection(("127.0.0.1", 628), timeout=20) as client:
        client.sendall(netstring(b"".join(map(netstring, parts))))
        assert re.fullmatch(rb"\d+:Kok \d+ qp \d+,", client.recv(512))
    assert f"by {HOST} with QMQP; ".encode() in arrive(world, "alice", b"qmqp")


@pytest.mark.parametrize("name", ["qmail-qmtpd", "qmail-qmtpsd", "qmail-qmqpd"])
def test_a_program_that_does_not_exist_is_named_in_the_log(world: World, name: str) -> None:
    program = next(command for command, services in MISSING.items() if name in services)
    if program in COMMANDS:
        pytest.skip(f"{program} exists")
    with world.network(), socket.create_connection(("127.0.0.1", PORTS[name]), timeout=20) as plain:
        client = unverified().wrap_socket(plain) if name == "qmail-qmtpsd" else plain
        with client:
            try:
                assert client.recv(1) == b""
            except ConnectionResetError:
                pass
    server = "sslserver" if name == "qmail-qmtpsd" else "tcpserver"
    logged(world, name, rf"{server}: fatal: \(111\) unable to run: {program}: file does not exist")


# identities


def are_pairs(workers: list[psutil.Process], account: tuple[int, int], world: World) -> bool:
    """Whether every worker is this account and has one relay beside it, which is in the chroot."""
    try:
        for worker in workers:
            (relay,) = worker.children()
            caged = identity(relay) == expected("sqmtls") and is_chrooted(relay, world)
            if identity(worker)[:2] != account or is_chrooted(worker, world) or not caged:
                return False
    except (psutil.NoSuchProcess, OSError, ValueError):  # it has not forked yet, or is gone
        return False
    return len(workers) > 0


@pytest.mark.parametrize("name", SECURE)
def test_who_sslserver_is(world: World, name: str) -> None:
    account = (0, 0) if name in ("qmail-pop3d", "qmail-pop3sd") else expected("qmaild")[:2]
    master = world.service(name)
    wait_for(lambda: are_pairs(master.children(), account, world))
    assert identity(master)[:2] == (0, 0)
    assert not is_chrooted(master, world)


@pytest.mark.parametrize("name", ["qmail-qmtpd", "qmail-qmqpd"])
def test_who_tcpserver_is(world: World, name: str) -> None:
    logged(world, name, "tcpserver: status: 0/40")
    master = world.service(name)
    workers = wait_for(lambda: master.children())
    assert {str(identity(process)) for process in (master, *workers)} == {str(expected("qmaild"))}


DELIVERY = {"qmail-lspawn": "root", "qmail-rspawn": "qmailr", "qmail-clean": "qmailq", "qmail-queued": "qmailq"}


def test_who_delivers(world: World) -> None:
    send = world.service("qmail-send")
    assert identity(send)[:2] == expected("qmails")[:2]
    siblings = {" ".join(process.cmdline()).split()[0]: process for process in send.children()}
    assert sorted(siblings) == sorted(DELIVERY)
    for name, account in DELIVERY.items():
        uid = ACCOUNTS[account][0] if account != "root" else 0
        assert siblings[name].uids().effective == uid, name


def test_who_logs_and_where(world: World) -> None:
    uid, gid, groups = expected("qmaill")
    for name in SERVICES:
        directory = world.path(f"/var/log/{name}")
        logged(world, name, r".*status: .*")
        for file in (directory, directory / "current", directory / "lock"):
            assert (file.stat().st_uid, file.stat().st_gid) == (uid, gid), file
        assert stat.S_IMODE((directory / "current").stat().st_mode) == 0o644
    loggers = [process for process in world.processes() if f"/var/log/{name}" in " ".join(process.cmdline())]
    assert [identity(process) for process in loggers] == [(uid, gid, groups)]
    lines = (world.path("/var/log/qmail-smtpd") / "current").read_text().splitlines()
    assert all(re.match(r"@[0-9a-f]{24} ", line) for line in lines)


@pytest.mark.parametrize(("name", "tls"), [("qmail-pop3d", "POP3"), ("qmail-pop3sd", "POP3S")])
def test_descriptor_5_reaches_the_session(world: World, name: str, tls: str) -> None:
    log = os.readlink(f"/proc/{world.service(name).pid}/fd/2")
    assert os.readlink(f"/proc/{world.service(name).pid}/fd/5") == log
    with world.network():
        if name == "qmail-pop3sd":
            client: poplib.POP3 = poplib.POP3_SSL("127.0.0.1", 995, timeout=20, context=unverified())
        else:
            client = poplib.POP3("127.0.0.1", 110, timeout=20)
        client.user(LOGIN)
        client.pass_(PASSWORD)
        client.noop()
        below = {process: identity(process) for process in world.service(name).children(recursive=True)}
        (session,) = (process for process, (uid, _, _) in below.items() if uid == ACCOUNTS["alice"][0])
        assert below[session] == expected("alice")
        assert os.readlink(f"/proc/{session.pid}/fd/5") == log
        client.quit()
    logged(world, name, rf"qmail-popup: pid \d+ Accept::AUTH::User P:{tls} S:127\.0\.0\.1:localhost \?~ '{re.escape(LOGIN)}'")
