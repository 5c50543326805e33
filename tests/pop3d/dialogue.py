"""POP3 dialogues as plain files.

Each line is a word and its text, in which Python's escapes stand for bytes (`\\x20` for a blank at the end):

    file PATH AGE CONTENT    a file of the Maildir before the session, AGE seconds old
    C LINE                   the client sends LINE CRLF
    c BYTES                  the client sends exactly these
    S LINE                   the server must send LINE CRLF
    R REGEX                  the server must send a line that matches (without CRLF)
    close                    the client closes its sending side
    end                      the server must close
    here PATH / gone PATH    what the Maildir must (not) hold afterwards
    env NAME=VALUE           the server's environment
    log REGEX                the whole log must be such lines, in this order
"""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path


def unescape(text: str) -> bytes:
    """A text with Python's escapes as bytes."""
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


class Case:
    """One dialogue file."""

    def __init__(self, path: Path) -> None:
        self.files: list[tuple[str, int, bytes]] = []
        self.steps: list[tuple[str, bytes]] = []
        self.after: list[tuple[str, str]] = []
        self.env: dict[str, str] = {}
        self.log: list[str] = []
        for number, line in enumerate(path.read_text().splitlines(), 1):
            word, _, rest = line.partition(" ")
            if word == "file":
                name, age, content = (rest + " ").split(" ", 2)
                self.files.append((name, int(age), unescape(content[:-1])))
            elif word in ("here", "gone"):
                self.after.append((word, rest))
            elif word == "env":
                name, _, value = rest.partition("=")
                self.env[name] = value
            elif word == "log":
                self.log.append(rest)
            elif word == "R":
                self.steps.append((word, rest.encode()))
            elif word in ("C", "c", "S", "close", "end"):
                self.steps.append((word, unescape(rest)))
            elif line and not line.startswith("#"):
                raise ValueError(f"{path.name}:{number}: {line!r}")

    def make_maildir(self, maildir: Path) -> None:
        """Lay out the Maildir."""
        for folder in ("tmp", "new", "cur"):
            (maildir / folder).mkdir(parents=True)
        for name, age, content in self.files:
            (maildir / name).write_bytes(content)
            when = time.time() - age
            os.utime(maildir / name, (when, when))

    def play(self, peer: socket.socket, *, pipelined: bool = False) -> None:
        """Be the client: one command at a time, or everything at once and the replies afterwards."""
        steps = self.steps
        if pipelined:
            client = [step for step in steps if step[0] in ("C", "c", "close")]
            steps = client + [step for step in steps if step[0] in ("S", "R", "end")]
        reader = peer.makefile("rb")
        for word, data in steps:
            if word in ("C", "c"):
                peer.sendall(data + b"\r\n" * (word == "C"))
            elif word == "close":
                peer.shutdown(socket.SHUT_WR)
            elif word == "S":
                got = reader.readline()
                assert got == data + b"\r\n", f"{got!r} instead of {data!r}"
            elif word == "R":
                got = reader.readline()
                assert re.fullmatch(data + b"\r\n", got), f"{got!r} instead of {data!r}"
            else:
                assert reader.read() == b""

    def check_maildir(self, maildir: Path) -> None:
        """Compare what is left."""
        for word, name in self.after:
            assert (maildir / name).exists() == (word == "here"), f"{word} {name}"
