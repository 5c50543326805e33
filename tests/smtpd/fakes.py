"""An outside world for sessions that are tested without sockets and queue."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qmail.control import Controls
from qmail.smtpd.dialogue import Dialogue
from qmail.smtpd.session import Session
from qmail.smtpd.settings import Settings
from qmail.smtpd.tls import at_connect, trust_certificate
from qserver.net.lookup import DnsTemporary
from tests.smtpd.dialogue_file import CONNECTION


class FakeQueue:
    """Keeps one message in memory."""

    qp = 77

    def __init__(self, code: int = 0) -> None:
        self.data: list[bytes] = []
        self.failed = False
        self.closed = False
        self.code = code
        self.sent: tuple[bytes, list[bytes]] | None = None

    @property
    def message(self) -> bytes:
        return b"".join(self.data)

    def put(self, data: bytes) -> None:
        assert not self.failed
        self.data.append(data)

    def fail(self) -> None:
        self.failed = True

    def envelope(self, sender: bytes, recipients: list[bytes]) -> None:
        assert not self.failed
        self.sent = (sender, recipients)

    def close(self) -> int:
        self.closed = True
        return 54 if self.failed else self.code


class FakeWorld:
    """DNS as a table, a clock that stands still, a queue in memory."""

    pid = 4711

    def __init__(self, code: int = 0) -> None:
        self.lines: list[bytes] = []
        self.pauses: list[int] = []
        self.queues: list[FakeQueue] = []
        self.environments: list[dict[str, str]] = []
        self.names: dict[str, list[str]] = {}
        self.exchangers: dict[str, list[tuple[int, bytes]]] = {}
        self.broken: set[str] = set()
        self.code = code

    def log(self, line: bytes) -> None:
        self.lines.append(line)

    def now(self) -> float:
        return 1795366000.0

    def pause(self, seconds: int) -> None:
        self.pauses.append(seconds)

    def open_queue(self, env: Mapping[str, str]) -> FakeQueue:
        self.environments.append(dict(env))
        self.queues.append(FakeQueue(self.code))
        return self.queues[-1]

    def interface_addresses(self) -> frozenset[str]:
        return frozenset(("192.0.2.1", "2001:db8::1", "::1"))

    def resolver(self) -> FakeWorld:
        return self

    def addresses(self, name: str, family: int = 0) -> list[str]:
        if name in self.broken:
            raise DnsTemporary(name)
        return self.names.get(name, [])

    def mx(self, name: str) -> list[tuple[int, bytes]]:
        if name in self.broken:
            raise DnsTemporary(name)
        return self.exchangers.get(name, [])


def dialogue(
    home: Path, world: FakeWorld, *, control: Mapping[str, str | None] | None = None, env: Mapping[str, str] | None = None
) -> Dialogue:
    """A dialogue with a session whose home has these control files (None: not), in these circumstances."""
    (home / "control").mkdir(exist_ok=True)
    files = {"me": "mx.example.org", "rcpthosts": "example.org", **(control or {})}
    for name, text in files.items():
        if text is not None:
            (home / "control" / name).write_text(text + "\n")
    variables = {**CONNECTION, **(env or {})}
    settings = Settings(Controls(str(home)), variables)
    session = Session(settings, variables, world, at_connect(settings.localport, variables))
    trust_certificate(session)
    return Dialogue(session)
