"""Dialogue files: a conversation written down, and the player that holds it with a server.

# a comment
env NAME=value              a variable for the server
control NAME line|line      a control file
queue CODE                  exit code of the queue program
C: text                     the client sends text CRLF; successive C and R lines go out in one write
R: raw\\r\\n                  the client sends these bytes, backslash escapes resolved, nothing added
S: text                     the server answers this line; * stands for any bytes
END                         the client sends EOF
E: sender -> rcpt rcpt      an envelope that was queued
M: line                     the next line of the message queued with it, after our Received field
L: text                     a line of the log without "qmail-smtpd: pid N "; all of them are compared, in order
EXIT code                   the server closes and exits so
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent / "dialogues"
CONTROL = {"me": "mx.example.org", "rcpthosts": "example.org|.sub.example.org"}
CONNECTION = {
    "PROTO": "TCP",
    "TCPREMOTEIP": "192.0.2.9",
    "TCPREMOTEHOST": "host.client.net",
    "TCPREMOTEPORT": "4711",
    "TCPLOCALHOST": "mx.example.org",
    "TCPLOCALIP": "192.0.2.1",
    "TCPLOCALPORT": "25",
}


class DialogueFile:
    """One parsed file."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.env = dict(CONNECTION)
        self.control = dict(CONTROL)
        self.queue_code = 0
        self.exit: int | None = None
        self.steps: list[tuple[str, bytes]] = []
        self.log: list[bytes] = []
        self.queued: list[tuple[bytes, list[bytes]]] = []
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
            if line and not line.startswith(b"#"):
                self._take(line, f"{path.name}:{number}")

    def _take(self, line: bytes, where: str) -> None:
        word, _, rest = line.partition(b" ")
        match word:
            case b"env":
                name, _, value = rest.decode("latin-1").partition("=")
                self.env[name] = value
            case b"unset":
                self.env.pop(rest.decode(), None)
            case b"control":
                name, _, text = rest.decode("latin-1").partition(" ")
                self.control[name] = text
            case b"without":
                del self.control[rest.decode()]
            case b"queue":
                self.queue_code = int(rest)
            case b"C:":
                self._send(rest + b"\r\n")
            case b"R:":
                self._send(unescape(rest))
            case b"S:":
                self.steps.append(("S", rest))
            case b"END":
                self.steps.append(("END", b""))
            case b"E:":
                self.queued.append((rest, []))
            case b"M:":
                self.queued[-1][1].append(unescape(rest))
            case b"L:":
                self.log.append(rest)
            case b"EXIT":
                self.exit = int(rest)
            case _:
                raise ValueError(f"{where}: {line!r}")

    def _send(self, data: bytes) -> None:
        if self.steps and self.steps[-1][0] == "C":
            data = self.steps.pop()[1] + data
        self.steps.append(("C", data))

    def write_home(self, home: Path) -> None:
        """Lay out the control files."""
        (home / "control").mkdir(parents=True)
        for name, text in self.control.items():
            (home / "control" / name).write_bytes(text.encode("latin-1").replace(b"|", b"\n") + b"\n")


def unescape(text: bytes) -> bytes:
    """Resolve backslash escapes, bytes for bytes."""
    return text.decode("latin-1").encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")


def matches(pattern: bytes, line: bytes) -> bool:
    """Whether a line is what the file says, `*` standing for anything."""
    return re.fullmatch(b".*".join(re.escape(part) for part in pattern.split(b"*")), line, re.DOTALL) is not None


class Wire:
    """The client's end of a connection."""

    def send(self, data: bytes) -> None:
        """Send bytes."""
        raise NotImplementedError

    def receive(self) -> bytes:
        """Some bytes; b"" at the end."""
        raise NotImplementedError

    def end(self) -> None:
        """Send EOF."""
        raise NotImplementedError


def play(dialogue: DialogueFile, wire: Wire) -> None:
    """Hold the conversation; fails at the first line that differs."""
    buffer = b""
    for kind, text in dialogue.steps:
        if kind == "C":
            wire.send(text)
        elif kind == "END":
            wire.end()
        else:
            while b"\n" not in buffer:
                block = wire.receive()
                assert block, f"{dialogue.name}: closed instead of {text!r}, having said {buffer!r}"
                buffer += block
            line, _, buffer = buffer.partition(b"\n")
            assert matches(text + b"\r", line), f"{dialogue.name}: {line!r} instead of {text!r}"
    if dialogue.exit is not None:
        while block := wire.receive():
            buffer += block
    assert buffer == b"", f"{dialogue.name}: the server went on with {buffer!r}"


def check_log(dialogue: DialogueFile, log: bytes) -> None:
    """Compare every line of the log."""
    lines = log.splitlines()
    assert len(lines) == len(dialogue.log), lines
    for line, wanted in zip(lines, dialogue.log, strict=True):
        assert matches(b"qmail-smtpd: pid * " + wanted, line), line


def check_queue(dialogue: DialogueFile, queue: Path) -> None:
    """Compare what the queue program of `queue_program` was given."""
    envelopes = sorted(queue.glob("envelope.*"))
    assert len(envelopes) == len(dialogue.queued), envelopes
    for path, (envelope, lines) in zip(envelopes, dialogue.queued, strict=True):
        sender, _, recipients = envelope.partition(b" -> ")
        told = [b"F" + sender] + [b"T" + rcpt for rcpt in recipients.split()]
        assert path.read_bytes() == b"".join(item + b"\0" for item in told) + b"\0"
        message = path.with_name(path.name.replace("envelope", "message")).read_bytes()
        fields, _, body = message.partition(b"-0000\n")
        assert fields.startswith(b"Received: from "), message
        assert body == b"".join(line + b"\n" for line in lines)


def queue_program(folder: Path, code: int = 0) -> Path:
    """A program for QMAILQUEUE that keeps what it gets; an envelope without its end is kept under another name."""
    folder.mkdir()
    program = folder / "queue"
    program.write_text(
        "#!/bin/sh\n"
        f"cd '{folder}' || exit 61\n"
        "n=$$\n"
        "while [ -e message.$n ]; do n=1$n; done\n"
        "cat > message.$n\n"
        "cat <&1 > partial.$n\n"
        "env > environment\n"
        '[ "$(tail -c 2 partial.$n | od -An -tx1 | tr -d " ")" = 0000 ] || exit 54\n'
        f"[ {code} = 0 ] || exit {code}\n"
        "mv partial.$n envelope.$n\n"
    )
    program.chmod(0o755)
    return program
