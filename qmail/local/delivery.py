"""One local delivery: qmail-local's arguments and the lines and variables made of them (delivery 7.2, 7.5)."""

from __future__ import annotations

import os

from qmail.address import quote2
from qmail.dates import myctime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NOBODY = (b"", b"#@[]")
"""Senders who get no answer, whatever happens."""


class Delivery:
    """Who gets a message, and from whom. All bytes."""

    __slots__ = ("dash", "default", "extension", "home", "host", "local", "sender", "user")

    def __init__(
        self, user: bytes, home: bytes, local: bytes, dash: bytes, extension: bytes, host: bytes, sender: bytes, default: bytes
    ) -> None:
        self.user = user
        self.home = home
        self.local = local
        self.dash = dash
        self.extension = extension
        self.host = host
        self.sender = sender
        self.default = default

    def recipient(self) -> bytes:
        """The address."""
        return self.local + b"@" + self.host

    def delivered_to(self) -> bytes:
        """DTLINE: marks the message, so that it is seen when it comes back."""
        return one_line(b"Delivered-To: " + self.recipient())

    def return_path(self) -> bytes:
        """RPLINE."""
        return one_line(b"Return-Path: <" + quote2(self.sender) + b">")

    def from_line(self, now: float) -> bytes:
        """UFLINE: what begins a message in an mbox file."""
        sender = self.sender.translate(BLANKS_TO_DASHES) or b"MAILER-DAEMON"
        return b"From %b %b\n" % (sender, myctime(now))

    def owner(self, verp: bool) -> bytes:
        """The sender of what is forwarded for a list with an owner; with `verp` every recipient shows in it."""
        return b"%b-owner-@%b-@[]" % (self.local, self.host) if verp else b"%b-owner@%b" % (self.local, self.host)


BLANKS_TO_DASHES = bytes.maketrans(b" \t\n", b"---")


def one_line(text: bytes) -> bytes:
    """A header line: what was a newline inside must not start another."""
    return text.replace(b"\n", b"_") + b"\n"


def environment(
    delivery: Delivery, env: Mapping[str, str], now: float, default: bytes | None, new_sender: bytes
) -> dict[str, str]:
    """What programs in .qmail find in their environment; $DEFAULT is left alone when `default` is None."""
    variables = {
        "HOST": delivery.host,
        "HOME": delivery.home,
        "USER": delivery.user,
        "LOCAL": delivery.local,
        "SENDER": delivery.sender,
        "RECIPIENT": delivery.recipient(),
        "DTLINE": delivery.delivered_to(),
        "RPLINE": delivery.return_path(),
        "UFLINE": delivery.from_line(now),
        "NEWSENDER": new_sender,
        **extensions(delivery.extension),
        **hosts(delivery.host),
    }
    if default is not None:
        variables["DEFAULT"] = default
    return {**env, **{name: os.fsdecode(value) for name, value in variables.items()}}


def extensions(extension: bytes) -> dict[str, bytes]:
    """EXT, and what follows its first, second and third dash."""
    rest = [extension]
    for _ in range(3):
        rest.append(rest[-1].partition(b"-")[2])
    return dict(zip(("EXT", "EXT2", "EXT3", "EXT4"), rest, strict=True))


def hosts(host: bytes) -> dict[str, bytes]:
    """HOST without its last, last two, last three parts; without a dot it stays whole."""
    found = {}
    for name in ("HOST2", "HOST3", "HOST4"):
        before, dot, _ = host.rpartition(b".")
        host = before if dot else host
        found[name] = host
    return found
