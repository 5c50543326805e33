"""Clients for the tests of the run scripts, and how what they did shows in the world."""

from __future__ import annotations

import os
import poplib
import re
import smtplib
import ssl
from pathlib import Path

import psutil

from tests.end_to_end.run_scripts.inside import ACCOUNTS, GROUPS, HOST, PASSWORD
from tests.end_to_end.run_scripts.world import World
from tests.support import wait_for

PORTS = {
    "qmail-smtpd": 25,
    "qmail-smtpsub": 587,
    "qmail-smtpsd": 465,
    "qmail-qmtpd": 209,
    "qmail-qmtpsd": 6209,
    "qmail-qmqpd": 628,
    "qmail-pop3d": 110,
    "qmail-pop3sd": 995,
}
SERVICES = (*PORTS, "qmail-send")
MESSAGE = b"Subject: hello\r\n\r\nbody\r\n.leading dot\r\n"
LOGIN = f"alice@{HOST}"


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def verified(world: World) -> ssl.SSLContext:
    """Of a client that trusts our certificate, for the name in it."""
    return ssl.create_default_context(cafile=str(world.path("/var/qmail/ssl/localhost.pem")))


def smtp(port: int, *, source: str = "127.0.0.1") -> smtplib.SMTP:
    server = "::1" if ":" in source else "127.0.0.1"
    return smtplib.SMTP(server, port, "client.example.net", timeout=20, source_address=(source, 0))


def arrive(world: World, name: str, subject: bytes) -> bytes:
    """The message with this subject, once qmail-send has delivered it; taken away."""

    def found() -> Path | None:
        return next((path for path in world.messages(name) if b"Subject: " + subject in path.read_bytes()), None)

    path = wait_for(found, timeout=20)
    assert path is not None
    status = path.stat()
    assert (status.st_uid, status.st_gid) == (ACCOUNTS[name][0], GROUPS[name])
    text = path.read_bytes()
    path.unlink()
    return text


def fetch(client: poplib.POP3) -> list[bytes]:
    """Log in, fetch and delete what is there."""
    client.user(LOGIN)
    client.pass_(PASSWORD)
    numbers = range(1, client.stat()[0] + 1)
    messages = [b"\n".join(client.retr(number)[1]) for number in numbers]
    for number in numbers:
        client.dele(number)
    client.quit()
    return messages


def logged(world: World, name: str, pattern: str) -> None:
    """Await a line in a service's log that the pattern matches wholly."""
    wait_for(lambda: re.search(f"^{pattern}$", world.log(name), re.MULTILINE))


def is_chrooted(process: psutil.Process, world: World) -> bool:
    return os.path.samefile(f"/proc/{process.pid}/root", world.path("/var/qmail/ssl"))


def expected(name: str) -> tuple[int, int, list[int]]:
    """Uid, gid, groups of an account that a program became."""
    uid, group, _ = ACCOUNTS[name]
    return uid, GROUPS[group], [GROUPS[group]]
