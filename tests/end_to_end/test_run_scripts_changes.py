"""The run scripts when something around them changes, and how they end."""

from __future__ import annotations

import os
import poplib
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from qmail.stack import certificate
from tests.end_to_end.run_scripts.clients import (
    LOGIN,
    MESSAGE,
    PORTS,
    arrive,
    expected,
    is_chrooted,
    logged,
    smtp,
    unverified,
)
from tests.end_to_end.run_scripts.inside import HOST, PASSWORD
from tests.end_to_end.run_scripts.world import OURS_FIRST, World, created, identity
from tests.support import BIN, PEER_PATH, peer, wait_for

pytestmark = pytest.mark.root

SMALL = ("qmail-smtpd", "qmail-pop3sd", "qmail-send")


@pytest.fixture
def small_world(tmp_path: Path) -> Iterator[World]:
    """A world of one's own with three services."""
    peer("hostname")
    with created(tmp_path, SMALL) as running:
        wait_for(lambda: running.ports() == {25, 995}, timeout=30)
        logged(running, "qmail-send", "status: local 0/10 remote 0/20")
        yield running


def edit(world: World, name: str, old: str, new: str) -> None:
    """Replace a text that is in a file of the world."""
    path = world.path(name)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def restart(world: World, name: str) -> None:
    """TERM, and wait for the next one to listen."""
    before = world.service_pid(name)
    world.ours("svc", "-t", f"/service/{name}")
    wait_for(lambda: world.service_pid(name) not in (0, before) and PORTS.get(name, 25) in world.ports())


def served_certificate(world: World) -> bytes | None:
    with (
        world.network(),
        socket.create_connection(("127.0.0.1", 995), timeout=20) as plain,
        unverified().wrap_socket(plain) as client,
    ):
        return client.getpeercert(binary_form=True)


def test_hangup_brings_a_new_certificate(small_world: World) -> None:
    """The key is readable for root and the TLS processes' user, which sits in a chroot."""
    before = served_certificate(small_world)
    ssl_directory = small_world.path("/var/qmail/ssl")
    certificate.make(ssl_directory, HOST)
    os.chown(ssl_directory / "localhost.key", *expected("sqmtls")[:2])
    small_world.ours("svc", "-h", "/service/qmail-pop3sd")
    wait_for(lambda: served_certificate(small_world) != before)
    new = ssl.PEM_cert_to_DER_cert((ssl_directory / "localhost.pem").read_text())
    assert served_certificate(small_world) == new


def test_scripts_without_true_work_too(small_world: World) -> None:
    """As they were for checkpassword."""
    edit(small_world, "/var/qmail/svc/qmail-pop3sd/run", "qmail-authuser true qmail-pop3d", "qmail-authuser qmail-pop3d")
    restart(small_world, "qmail-pop3sd")
    with small_world.network():
        client = poplib.POP3_SSL("127.0.0.1", 995, timeout=20, context=unverified())
        client.user(LOGIN)
        assert client.pass_(PASSWORD).startswith(b"+OK")
        client.quit()


def test_an_unknown_ssl_user_is_told_and_not_needed(small_world: World) -> None:
    edit(small_world, "/var/qmail/ssl/ssl.env", "SSL_USER=sqmtls", "SSL_USER=nosuch")
    restart(small_world, "qmail-smtpd")
    logged(small_world, "qmail-smtpd", "No such user 'nosuch'")
    with small_world.network(), smtp(25) as client:
        assert client.noop()[0] == 250
    workers = small_world.service("qmail-smtpd").children()
    relays = [relay for worker in workers for relay in worker.children()]
    assert relays
    assert all(is_chrooted(relay, small_world) for relay in relays)


def offer(world: World, subject: bytes) -> int:
    """Send bob a message by port 25; the reply to it."""
    with world.network(), smtp(25) as client:
        client.ehlo()
        client.mail("sender@example.net")
        client.rcpt(f"bob@{HOST}")
        return client.data(MESSAGE.replace(b"hello", subject))[0]


def test_names_are_a_luxury(small_world: World) -> None:
    """No /etc/services, nobody who answers DNS, and the group's older name."""
    small_world.path("/etc/services").unlink()
    small_world.path("/etc/resolv.conf").write_text("nameserver 10.9.9.9\n")
    edit(small_world, "/etc/group", "\nsqmail:", "\nqmail:")
    for name in SMALL:
        restart(small_world, name)
    wait_for(lambda: offer(small_world, b"nameless") == 250)
    assert b"from unknown (HELO client.example.net) (127.0.0.1)" in arrive(small_world, "bob", b"nameless")
    assert identity(small_world.service("qmail-send")) == expected("qmails")


def test_mail_waits_outside_while_qmail_send_is_down(small_world: World) -> None:
    """Nothing is setuid: the queue service, which qmail-start starts, ends with qmail-send."""
    small_world.ours("svc", "-d", "/service/qmail-send")
    wait_for(lambda: offer(small_world, b"early") == 451)
    small_world.ours("svc", "-u", "/service/qmail-send")
    wait_for(lambda: offer(small_world, b"late") == 250)
    arrive(small_world, "bob", b"late")


def test_mail_waits_in_the_queue_where_its_service_is_one_of_its_own(tmp_path: Path) -> None:
    """As C's qmail-smtpd with a setuid qmail-queue."""
    with created(tmp_path, ("qmail-smtpd", "qmail-send", "qmail-queued")) as world:
        wait_for(lambda: world.ports() == {25} and world.path("/var/qmail/run/queue.sock").exists(), timeout=30)
        wait_for(lambda: world.service_pid("qmail-queued") and identity(world.service("qmail-queued")) == expected("qmailq"))
        world.ours("svc", "-d", "/service/qmail-send")
        wait_for(lambda: world.service_pid("qmail-send") == 0)
        wait_for(lambda: offer(world, b"waiting") == 250)
        assert world.messages("bob") == []
        world.ours("svc", "-u", "/service/qmail-send")
        arrive(world, "bob", b"waiting")
        assert offer(world, b"at once") == 250
        arrive(world, "bob", b"at once")


@pytest.mark.parametrize("path", [f"{PEER_PATH}:{BIN}", OURS_FIRST], ids=["peers", "ours"])
def test_daemontools_and_servers_may_be_mixed(tmp_path: Path, path: str) -> None:
    """Our servers under the C programs, and the C programs' ways with ours."""
    tools = {name: peer(name) for name in ("svscan", "supervise", "svc", "svok", "svstat", "setuidgid", "multilog")}
    with created(tmp_path, SMALL, path) as mixed:
        wait_for(lambda: mixed.ports() == {25, 995}, timeout=30)
        with mixed.network(), smtp(25) as client:
            client.sendmail("sender@example.net", [f"bob@{HOST}"], MESSAGE.replace(b"hello", b"mixed"))
        arrive(mixed, "bob", b"mixed")
        logged(mixed, "qmail-send", r"delivery \d+: success: did_1\+0\+0/")
        loggers = [words[0] for words in mixed.commands() if words[-1] == "/var/log/qmail-send"]
        assert (loggers == ["multilog"]) == path.startswith(PEER_PATH)
        told = mixed.run(tools["svstat"], *(f"/service/{name}" for name in SMALL)).stdout.decode()
        assert re.findall(r"^/service/(\S+): up \(pid \d+\) \d+ seconds$", told, re.MULTILINE) == list(SMALL), told
        for name in SMALL:
            mixed.path(f"/service/{name}").unlink()
        directories = [f"/var/qmail/svc/{name}{part}" for part in ("", "/log") for name in SMALL]
        assert mixed.run(tools["svc"], "-dx", *directories).stderr == b""
        wait_for(lambda: [words[-1] for words in mixed.commands()] == ["/service"], timeout=20)
        assert [mixed.run(tools["svok"], directory).returncode for directory in directories] == [100] * len(directories)


# ending


def test_svc_ends_services_and_logs(small_world: World) -> None:
    """As the manual has it: the link is removed first, or svscan would start them again."""
    services = [f"/var/qmail/svc/{name}" for name in SMALL]
    for name in SMALL:
        small_world.path(f"/service/{name}").unlink()
    assert small_world.ours("svc", "-dx", *services).stderr == b""
    for directory in services:
        wait_for(lambda: small_world.ours("svok", directory).returncode == 100)  # noqa: B023 - done before it changes
    wait_for(lambda: small_world.ports() == set())
    wait_for(lambda: "status: exiting\n" in small_world.log("qmail-send"))
    assert small_world.ours("svc", "-dx", *(f"{directory}/log" for directory in services)).stderr == b""
    wait_for(lambda: [words[-1] for words in small_world.commands()] == ["/service"], timeout=20)


def test_term_ends_the_whole_scan(small_world: World) -> None:
    with small_world.network(), smtp(25) as client:
        client.sendmail("sender@example.net", [f"bob@{HOST}"], MESSAGE.replace(b"hello", b"last"))
    arrive(small_world, "bob", b"last")
    next(process for process in small_world.processes() if process.cmdline()[-1:] == ["/service"]).terminate()
    wait_for(lambda: small_world.processes() == [], timeout=20)
    assert "status: exiting\n" in small_world.log("qmail-send")
    assert small_world.ports() == set()
