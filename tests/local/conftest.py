"""A user's home, and running qmail-local for that user as qmail-lspawn would."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import environment, ours

MESSAGE = b"Received: by x\nSubject: hello\n\nFrom the beginning\n>From here\nbody\n"


class Person:
    """A user `joe` of this host with a home of his own."""

    def __init__(self, home: Path, qmail: Path) -> None:
        self.home = home
        self.qmail = qmail
        self.message = home.parent / "message"
        self.message.write_bytes(MESSAGE)

    def dot(self, text: str, name: str = ".qmail", mode: int = 0o644) -> Path:
        """Write a .qmail file."""
        path = self.home / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def maildir(self, name: str = "Maildir") -> Path:
        for folder in ("tmp", "new", "cur"):
            (self.home / name / folder).mkdir(parents=True)
        return self.home / name

    def argv(self, *options: str, dash: str = "", ext: str = "", sender: str = "s@x.org", default: str = "#") -> list[str]:
        local = f"joe-{ext}" if dash else "joe"
        return [ours("qmail-local"), *options, "--", "joe", str(self.home), local, dash, ext, "example.org", sender, default]

    def env(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**environment(QMAILHOME=str(self.qmail)), **(env or {})}

    def deliver(
        self, *options: str, env: Mapping[str, str] | None = None, message: bytes | None = None, **words: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run qmail-local on the message."""
        if message is not None:
            self.message.write_bytes(message)
        return self.run(self.argv(*options, **words), self.message, env)

    def run(self, argv: list[str], message: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run a program with a file as its input."""
        with message.open("rb") as file:
            return subprocess.run(argv, env=self.env(env), stdin=file, capture_output=True, timeout=40, check=False)


@pytest.fixture
def joe(tmp_path: Path, home: Path) -> Person:
    (tmp_path / "joe").mkdir(mode=0o755)
    return Person(tmp_path / "joe", home)
