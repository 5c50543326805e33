"""What holds for one connection: control files and environment, read once at its start (smtpd 2, 3)."""

from __future__ import annotations

import os

from qmail.control import all_lines
from qmail.smtpd import grammar
from qmail.smtpd.policy.badmailfrom import BadMailFrom
from qmail.wildmat import Patterns, is_literal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from qmail.control import Controls

UNKNOWN = b"unknown"
MISSPELT = {"HELOCHECK": "HELCOCHEK"}
"""Names the s/qmail manual misspells, read when the right one is unset."""


class NoGreeting(OSError):
    """Neither control/smtpgreeting nor control/me exists."""


class AddressList:
    """badrcptto or badhelo: lines looked up as they are, and the same lines as wildmat patterns."""

    __slots__ = ("members", "patterns")

    def __init__(self, data: bytes) -> None:
        lines = all_lines(data)
        self.members = frozenset(line.lower() for line in lines)
        self.patterns = Patterns(line for line in lines if not is_literal(line) or line[:1] == b"!")


class ControlValues:
    """What the control files say, for every connection until one of them changes.

    Raises OSError for a file that cannot be read, NoGreeting without a greeting.
    """

    __slots__ = ("badmailfrom", "badrcptto", "databytes", "greeting", "localiphost", "rcpthosts", "timeout")

    def __init__(self, controls: Controls) -> None:
        me = controls.line("me")
        greeting = controls.line("smtpgreeting")
        localiphost = controls.line("localiphost")
        if greeting is None:
            greeting = me
        if greeting is None:
            raise NoGreeting
        self.greeting: bytes = greeting
        self.localiphost = me if localiphost is None else localiphost
        self.timeout = max(1, controls.integer("timeoutsmtpd", 1200))
        self.databytes = controls.integer("databytes", 0)
        self.rcpthosts = controls.members("rcpthosts")
        self.badmailfrom: BadMailFrom | None = controls.parsed("badmailfrom", "smtpd", BadMailFrom.parse)
        self.badrcptto: AddressList | None = controls.parsed("badrcptto", "smtpd", AddressList)


class Settings:
    """Facts that no command changes. Bytes, except numbers; None where a file or variable is not there."""

    __slots__ = (
        "badhelo",
        "badmailfrom",
        "badrcptto",
        "databytes",
        "deliverto",
        "greeting",
        "helocheck",
        "local",
        "localiphost",
        "localport",
        "maxrecipients",
        "mfdnscheck",
        "morercpthosts",
        "rblsmtpd",
        "rcpthosts",
        "remotehost",
        "remoteip",
        "tarpitcount",
        "tarpitdelay",
        "timeout",
        "utf8",
    )

    def __init__(self, controls: Controls, env: Mapping[str, str]) -> None:
        """Raises OSError."""
        self._read_controls(controls, "HELOCHECK" in env or MISSPELT["HELOCHECK"] in env)
        self._read_connection(env)
        self._read_policies(env)

    def _read_controls(self, controls: Controls, with_badhelo: bool) -> None:
        values = controls.derived("smtpd", ControlValues)
        self.greeting = values.greeting
        self.localiphost = values.localiphost
        self.timeout = values.timeout
        self.databytes = values.databytes
        self.rcpthosts = values.rcpthosts
        self.badmailfrom = values.badmailfrom
        self.badrcptto = values.badrcptto
        self.badhelo: AddressList | None = controls.parsed("badhelo", "smtpd", AddressList) if with_badhelo else None
        self.morercpthosts = controls.path("morercpthosts.cdb")

    def _read_connection(self, env: Mapping[str, str]) -> None:
        self.remoteip = _first(env, "TCP6REMOTEIP", "TCPREMOTEIP").removeprefix(b"::ffff:")
        self.remotehost = _first(env, "TCP6REMOTEHOST", "TCPREMOTEHOST").lower()
        self.local = _first(env, "TCP6LOCALHOST", "TCPLOCALHOST", "TCP6LOCALIP", "TCPLOCALIP").lower()
        self.localport = _first(env, "TCP6LOCALPORT", "TCPLOCALPORT", default=b"0")

    def _read_policies(self, env: Mapping[str, str]) -> None:
        databytes = _text(env, "DATABYTES")
        if databytes is not None:
            self.databytes = grammar.number(databytes)
        self.maxrecipients = _number(env, "MAXRECIPIENTS")
        self.tarpitcount = _number(env, "TARPITCOUNT")
        self.tarpitdelay = _number(env, "TARPITDELAY")
        helocheck = _text(env, "HELOCHECK")
        self.helocheck = _text(env, MISSPELT["HELOCHECK"]) if helocheck is None else helocheck
        self.mfdnscheck = "MFDNSCHECK" in env
        self.deliverto = _text(env, "DELIVERTO") or None
        self.rblsmtpd = _text(env, "RBLSMTPD")
        self.utf8 = "UTF8" in env


def _text(env: Mapping[str, str], name: str) -> bytes | None:
    value = env.get(name)
    return None if value is None else os.fsencode(value)


def _first(env: Mapping[str, str], *names: str, default: bytes = UNKNOWN) -> bytes:
    """The first of these variables that is set."""
    for name in names:
        value = env.get(name)
        if value is not None:
            return os.fsencode(value)
    return default


def _number(env: Mapping[str, str], name: str) -> int:
    return grammar.number(_text(env, name) or b"")


def remote_info(env: Mapping[str, str]) -> bytes | None:
    """Who the client is according to its host: TCP6REMOTEINFO, else TCPREMOTEINFO."""
    value = _text(env, "TCP6REMOTEINFO")
    return _text(env, "TCPREMOTEINFO") if value is None else value
