"""What the environment and the control files tell qmail-inject (delivery 9)."""

from __future__ import annotations

import os

from qmail.control import Controls, all_lines, is_missing
from qserver.base.files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FLAGS: dict[str, str] = {
    "c": "comment_names",
    "s": "drop_return_path",
    "f": "drop_from",
    "i": "drop_message_id",
    "r": "verp_recipients",
    "m": "verp_message",
}
"""The letters of QMAILINJECT; others mean nothing."""
DEFAULTS = ("defaulthost", "defaultdomain", "plusdomain", "idhost")
"""Controls that fall back to `me`, then to their own name; $QMAILDEFAULTHOST and so on count before them."""


class Person:
    """Who sends, as far as the environment tells. A host or name of None was not told."""

    __slots__ = ("host", "name", "sender_box", "sender_host", "user")

    def __init__(self, env: Mapping[str, str]) -> None:
        self.host = _first(env, "QMAILHOST", "MAILHOST")
        user = _first(env, "QMAILUSER", "MAILUSER", "USER", "LOGNAME")
        self.user = b"anonymous" if user is None else user
        self.name = _first(env, "QMAILNAME", "MAILNAME", "NAME")
        sender_host = _first(env, "QMAILSHOST")
        self.sender_host = self.host if sender_host is None else sender_host
        sender_box = _first(env, "QMAILSUSER")
        self.sender_box = self.user if sender_box is None else sender_box


def _first(env: Mapping[str, str], *names: str) -> bytes | None:
    """The first of these variables that is set, be it to nothing."""
    for name in names:
        if name in env:
            return os.fsencode(env[name])
    return None


def flags(env: Mapping[str, str]) -> frozenset[str]:
    """The flags set by QMAILINJECT."""
    return frozenset(FLAGS[letter] for letter in env.get("QMAILINJECT", "") if letter in FLAGS)


def defaults(home: str, env: Mapping[str, str]) -> dict[str, bytes]:
    """The values of DEFAULTS. Raises OSError."""
    controls = Controls(home)
    values = {}
    for name in DEFAULTS:
        told = _first(env, "QMAIL" + name.upper())
        value = controls.line_or_me(name, name.encode())
        values[name] = told if told is not None else value or b""
    return values


def follow_ups(env: Mapping[str, str]) -> frozenset[bytes]:
    """The addresses in $QMAILMFTFILE, in lower case; a file that is not there lists none. Raises OSError."""
    path = env.get("QMAILMFTFILE")
    if path is None:
        return frozenset()
    try:
        return frozenset(address.lower() for address in all_lines(read_file(path)))
    except OSError as error:
        if is_missing(error):
            return frozenset()
        raise
