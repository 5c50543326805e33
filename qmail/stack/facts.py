"""What is known of a stack: where its parts are, and `stack.json`, which tells other programs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class ServiceFacts:
    """A running service; `port` is 0 for one that listens nowhere, `pid` 0 for one that is down."""

    name: str
    host: str
    port: int
    pid: int = 0
    tls: bool = False


@dataclass
class UserFacts:
    """A test user."""

    address: str
    password: str
    maildir: str


@dataclass
class Facts:
    """Everything in stack.json."""

    domain: str
    services: list[ServiceFacts] = field(default_factory=list)
    users: list[UserFacts] = field(default_factory=list)


class Paths:
    """The directories of a stack below one home directory."""

    def __init__(self, home: str) -> None:
        self.home = Path(os.path.abspath(home))
        self.qmail = self.home / "qmail"
        self.control = self.qmail / "control"
        self.service = self.home / "service"
        self.log = self.home / "log"
        self.run = self.home / "run"
        self.users = self.home / "users"
        self.ssl = self.qmail / "ssl"
        self.facts = self.home / "stack.json"
        self.pid_file = self.run / "svscan.pid"
        self.lock = self.run / "lock"
        self.queue_socket = self.qmail / "run" / "queue.sock"

    def exists(self) -> bool:
        """Whether a stack was laid out here."""
        return self.facts.exists()


def load(paths: Paths) -> Facts | None:
    """The facts on disk, or None when there are none that can be read."""
    try:
        data = json.loads(paths.facts.read_bytes())
        return Facts(
            data["domain"],
            [ServiceFacts(**item) for item in data["services"]],
            [UserFacts(**item) for item in data["users"]],
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def save(paths: Paths, facts: Facts) -> None:
    """Write stack.json, for its owner only since it holds passwords; readers see the old text or the new one."""
    temporary = paths.facts.with_suffix(".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        json.dump(asdict(facts), file, indent=2)
        file.write("\n")
    os.replace(temporary, paths.facts)
