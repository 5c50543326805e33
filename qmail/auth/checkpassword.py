"""The checkpassword protocol (access 1.1): what travels on descriptor 3, and what a module answers."""

from __future__ import annotations

import os

from qserver.base.privileges import become

INPUT_FD = 3
INPUT_LIMIT = 512
"""A module takes at most this many bytes before EOF."""

ACCEPTED = 0
REJECTED = 1
MISUSED = 2
TEMPORARY = 111


class Credentials:
    """What a client claims: login, password or response, and the challenge it was given (empty: none)."""

    __slots__ = ("challenge", "login", "response")

    def __init__(self, login: bytes, response: bytes, challenge: bytes = b"") -> None:
        self.login = login
        self.response = response
        self.challenge = challenge

    @property
    def local(self) -> bytes:
        """The login before its last `@`."""
        return self.login.rpartition(b"@")[0] if b"@" in self.login else self.login

    @property
    def domain(self) -> bytes:
        """From the last `@` on, inclusive, in lower case; empty without one."""
        return b"@" + self.login.rpartition(b"@")[2].lower() if b"@" in self.login else b""


class Identity:
    """What an accepted login becomes before the program runs; ids None: stay who we are, shell None: leave $SHELL."""

    __slots__ = ("gid", "home", "shell", "uid", "user")

    def __init__(self, user: bytes, home: str, uid: int | None, gid: int | None, shell: str | None = None) -> None:
        self.user = user
        self.home = home
        self.uid = uid
        self.gid = gid
        self.shell = shell

    @property
    def is_current(self) -> bool:
        """Whether this process already runs with these ids."""
        return self.uid is None or (self.uid, self.gid) == (os.geteuid(), os.getegid()) == (os.getuid(), os.getgid())

    def become(self) -> int:
        """Take groups, gid, uid and the home directory; 0, or the exit code when that cannot be (access 4.3)."""
        if self.uid is not None and self.gid is not None:
            try:
                become(self.uid, self.gid)
            except OSError:
                return REJECTED
        try:
            os.chdir(self.home)
        except (OSError, ValueError):
            return TEMPORARY
        return ACCEPTED

    def environment(self, env: dict[str, str]) -> dict[str, str]:
        """`env` with USER, HOME and SHELL of this identity."""
        changed = {**env, "USER": os.fsdecode(self.user), "HOME": self.home}
        if self.shell is not None:
            changed["SHELL"] = self.shell
        return changed


class Outcome:
    """A module's verdict: an exit code, and for code 0 the identity to take, if any."""

    __slots__ = ("code", "identity")

    def __init__(self, code: int, identity: Identity | None = None) -> None:
        self.code = code
        self.identity = identity


def pack(login: bytes, response: bytes, challenge: bytes) -> bytes:
    """The bytes for descriptor 3."""
    return b"\0".join((login, response, challenge, b""))


def parse(data: bytes) -> Credentials | None:
    """The credentials in the bytes of descriptor 3; None when malformed. The third field may be missing or open."""
    fields = data.split(b"\0", 3)
    if len(fields) < 3:
        return None
    return Credentials(fields[0], fields[1], fields[2])


def read_input() -> bytes:
    """Descriptor 3 up to EOF, or one byte more than is allowed, and close it. Raises OSError."""
    data = b""
    try:
        while len(data) <= INPUT_LIMIT and (block := os.read(INPUT_FD, INPUT_LIMIT + 1 - len(data))):
            data += block
    finally:
        try:
            os.close(INPUT_FD)
        except OSError:
            pass
    return data
