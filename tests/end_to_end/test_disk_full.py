"""A full disk (a small tmpfs under the queue): the documented answers, nothing half-queued, and recovery."""

from __future__ import annotations

import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Stack, open_directory, started
from tests.support import peer, run, wait_for

pytestmark = pytest.mark.root
SIZE = 4 << 20


@pytest.fixture
def small() -> Iterator[Path]:
    """A home on a tmpfs of four megabytes."""
    with open_directory() as path:
        disk = path / "disk"
        disk.mkdir()
        mount = run([peer("mount"), "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", str(disk)])
        if mount.returncode:
            pytest.skip(f"unable to mount a tmpfs: {mount.stderr.decode().strip()}")
        try:
            yield disk
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Take every byte that is left."""
    hog = disk / "hog"
    with hog.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    return hog


def try_to_send(stack: Stack, size: int = 1000) -> tuple[int, bytes]:
    """The reply to the final dot."""
    with smtplib.SMTP(*stack.smtp, timeout=20) as client:
        client.ehlo()
        client.mail("s@example.test")
        client.rcpt("alice@example.test")
        return client.data(b"Subject: x\r\n\r\n" + b"y" * size + b"\r\n")


@pytest.mark.timeout(120)
def test_full_disk_is_answered_with_451_and_nothing_is_half_queued(small: Path) -> None:
    with started(small / "home") as stack:
        assert try_to_send(stack)[0] == 250
        wait_for(lambda: len(stack.messages("alice")) == 1 and stack.queued() == 0)
        hog = fill(small)
        replies = [try_to_send(stack, size) for size in (1000, 100_000, 1000)]
        assert {code for code, _ in replies} == {451}
        assert all(text.startswith((b"qq write error or disk full", b"qq trouble creating files")) for _, text in replies)
        assert list((stack.queue / "todo").glob("*/*")) == []
        assert list((stack.queue / "mess").glob("*/*")) == []
        hog.unlink()
        assert try_to_send(stack)[0] == 250
        wait_for(lambda: len(stack.messages("alice")) == 2 and stack.queued() == 0, timeout=30)


@pytest.mark.timeout(150)
def test_full_mailbox_disk_defers_and_delivers_later(small: Path, open_path: Path) -> None:
    with started(open_path / "home") as stack:
        maildir = stack.maildir("alice")
        inside = small / "Maildir"
        subprocess.run(["cp", "-a", str(maildir), str(inside)], check=True)
        subprocess.run(["rm", "-r", str(maildir)], check=True)
        maildir.symlink_to(inside)
        hog = fill(small)
        assert try_to_send(stack, 20_000)[0] == 250
        wait_for(lambda: "deferral: " in stack.log("qmail-send"))
        assert "Temporary_error_on_maildir_delivery._(#4.3.0)/" in stack.log("qmail-send")
        assert list((inside / "tmp").iterdir()) == []
        hog.unlink()
        send = stack.service("qmail-send")["pid"]
        subprocess.run(["kill", "-ALRM", str(send)], check=True)
        wait_for(lambda: len(list((inside / "new").iterdir())) == 1, timeout=30)
