"""`users/authuser`: who may log in, and by what token (access 4.3).

A look-up is a few searches over the file's bytes. That is quicker than building a map for one login, and no password
stays in memory afterwards.
"""

from __future__ import annotations

import os

from qserver.base.files import read_file

BLANKS = b" \t\n"


def load(home: str) -> bytes:
    """The text of users/authuser, else of control/authuser, else nothing. Raises OSError for other trouble."""
    for name in ("users/authuser", "control/authuser"):
        try:
            return read_file(os.path.join(home, name))
        except FileNotFoundError:
            continue
    return b""


class UserFile:
    """The entries of one text; keys match in any case, of two equal keys the last line wins."""

    __slots__ = ("_lower", "_text")

    def __init__(self, text: bytes) -> None:
        self._text = b"\n" + text + b"\n"
        self._lower = self._text.lower()

    def is_disabled(self, login: bytes, domain: bytes) -> bool:
        """Whether a line `!login` or `!@domain`, with or without colon, is there."""
        return self._has_line(b"!" + login) or (bool(domain) and self._has_line(b"!" + domain))

    def token(self, login: bytes, domain: bytes) -> bytes | None:
        """The value for a login: its own entry, its domain's, `@`, `*`; only the first that exists counts."""
        for key in (login, domain, b"@", b"*"):
            value = self._value(key)
            if value is not None:
                return value
        return None

    def _value(self, key: bytes) -> bytes | None:
        if not _can_be_key(key):
            return None
        at = self._lower.rfind(b"\n" + key.lower() + b":")
        if at < 0:
            return None
        start = at + len(key) + 2
        return self._text[start : self._text.index(b"\n", start)].rstrip(BLANKS)

    def _has_line(self, key: bytes) -> bool:
        if not _can_be_key(key):
            return False
        wanted, at = b"\n" + key.lower(), -1
        while (at := self._lower.find(wanted, at + 1)) >= 0:
            end = at + len(wanted)
            rest = self._lower[end : self._lower.index(b"\n", end)]
            if not rest.rstrip(BLANKS) or rest.startswith(b":"):
                return True
        return False


def _can_be_key(key: bytes) -> bool:
    """A key is not empty, holds neither colon nor line end, and its line is no comment."""
    return bool(key) and b":" not in key and b"\n" not in key and not key.startswith(b"#")
