"""The options of tcpserver and sslserver (ucspi 5, 6, 12)."""

from __future__ import annotations

import os

from qserver.base.errors import Die
from qserver.base.getopt import getopt, scan_number, scan_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LETTERS = "146UXpPhHrRoOdDqQvc:x:B:g:u:b:l:t:I:"
SYNOPSIS = (
    "tcpserver [ -146UXpPhHrRoOdDqQv ] [ -c limit ] [ -x rules.cdb ] [ -B banner ] [ -g gid ] [ -u uid ] [ -b backlog ]"
    " [ -l localname ] [ -t timeout ] [ -I interface ] host port program [ arg ... ]"
)
QUIET, ERRORS, VERBOSE = range(3)
MOST_SESSIONS = 1000
"""Sessions of a program of ours after which a worker is replaced."""


class Options:
    """What the command line and the environment ask for."""

    __slots__ = (
        "always_exec", "backlog", "banner", "family", "gid", "host", "info", "info_timeout", "interface", "ip_rules",
        "keep_ip_options", "level", "limit", "local_name", "most_per_address", "names", "no_delay", "paranoid", "port",
        "print_address", "program", "proxy", "reuse_port", "rules", "rules_may_miss", "sessions", "uid", "unreadable",
    )  # fmt: skip

    def __init__(self) -> None:
        self.ip_rules: str | None = None
        """Looked up first, with the address alone (sslserver -y)."""
        self.unreadable = "drop"
        """The class of the message about rules that cannot be read."""
        self.level = ERRORS
        self.limit = 40
        self.rules: str | None = None
        self.rules_may_miss = False
        self.banner = b""
        self.backlog = 20
        self.uid = 0
        self.gid = 0
        self.print_address = False
        self.family = ""  # "4" or "6": the one preferred
        self.interface = ""
        self.paranoid = False
        self.names = True
        self.info = False
        self.info_timeout = 26
        self.local_name: str | None = None
        self.keep_ip_options = False
        self.no_delay = False
        self.always_exec = False
        self.reuse_port = False
        self.proxy = False
        self.sessions = MOST_SESSIONS
        self.most_per_address: int | None = None
        self.host = ""
        self.port = ""
        self.program: list[str] = []

    def bind_trouble(self, _ip: str, _port: int) -> str:
        """What a failed bind is called."""
        return "unable to bind"

    def blocking_look_ups(self) -> bool:
        """Whether a worker may have to wait for somebody before it can start the program."""
        return self.names or self.info or self.local_name is None or self.proxy

    def counts_addresses(self) -> bool:
        """Whether the sessions of an address may have to be counted: MAXCONIP from the environment or a rule.

        One address may have as many as all together? Then there is nothing to count.
        """
        most = self.most_per_address
        return self.rules is not None or self.ip_rules is not None or (most is not None and most < self.limit)


SHORT: dict[str, tuple[str, object]] = {
    "q": ("level", QUIET), "Q": ("level", ERRORS), "v": ("level", VERBOSE),
    "X": ("rules_may_miss", True),
    "1": ("print_address", True),
    "4": ("family", "4"), "6": ("family", "6"),
    "p": ("paranoid", True), "P": ("paranoid", False),
    "h": ("names", True), "H": ("names", False),
    "r": ("info", True), "R": ("info", False),
    "o": ("keep_ip_options", True), "O": ("keep_ip_options", False),
    "D": ("no_delay", True), "d": ("no_delay", False),
}  # fmt: skip
"""Letters without argument: what they set."""
WITH_TEXT = {"x": "rules", "l": "local_name", "I": "interface"}
SECONDS = "tTw"
WITH_NUMBER = {"c": "limit", "b": "backlog", "u": "uid", "g": "gid", "t": "info_timeout"}
LONG: dict[str, tuple[str, object]] = {
    "--exec": ("always_exec", True), "--proxy": ("proxy", True), "--reuseport": ("reuse_port", True),
}  # fmt: skip
LONG_WITH_NUMBER = {"--sessions": "sessions"}


class Syntax:
    """How a server is called: its name, its letters and what they set."""

    __slots__ = ("flags", "letters", "name", "numbers", "synopsis", "texts")

    def __init__(
        self, name: str, synopsis: str, letters: str, flags: dict[str, tuple[str, object]], texts: dict[str, str],
        numbers: dict[str, str],
    ) -> None:  # fmt: skip
        self.name = name
        self.synopsis = synopsis
        self.letters = letters
        self.flags = flags
        self.texts = texts
        self.numbers = numbers

    def usage(self) -> str:
        """The line for a wrong call."""
        return f"{self.name}: usage: {self.synopsis}"


TCPSERVER = Syntax("tcpserver", SYNOPSIS, LETTERS, SHORT, WITH_TEXT, WITH_NUMBER)


def parse(argv: list[str], env: Mapping[str, str], syntax: Syntax = TCPSERVER, options: Options | None = None) -> Options:
    """Options, host, port and program of a command line; `argv[0]` is the server's name. `options` has the defaults.

    Raises Die 100 for a wrong call; its text is empty where -q asks for silence.
    """
    options = options or Options()
    given = env.get("MAXCONIP")
    options.most_per_address = scan_number(given) if given else None
    options.sessions = max(1, scan_number(env.get("QSERVER_WORKER_SESSIONS", ""), MOST_SESSIONS))
    found, words = getopt(_take_long(argv, options, syntax), syntax.letters, syntax.usage())
    for letter, argument in found:
        _apply(options, letter, argument, env, syntax)
    if not words or not words[0] or len(words) < 2:
        raise wrong_call(options, syntax)
    options.host, options.port, *options.program = words
    return options


def wrong_call(options: Options, syntax: Syntax = TCPSERVER) -> Die:
    """The exception for missing operands; to be raised."""
    return Die("" if options.level == QUIET else syntax.usage(), 100)


def _take_long(argv: list[str], options: Options, syntax: Syntax) -> list[str]:
    """Take the long options, which stand before the short ones; returns argv without them. Raises Die."""
    at = 1
    while at < len(argv):
        word = argv[at]
        if word in LONG:
            setattr(options, *LONG[word])
        elif word in LONG_WITH_NUMBER:
            at += 1
            if at == len(argv):
                raise Die(f"{syntax.name}: option requires an argument -- {word[2:]}\n{syntax.usage()}", 100)
            setattr(options, LONG_WITH_NUMBER[word], max(1, scan_number(argv[at])))
        else:
            break
        at += 1
    return [argv[0], *argv[at:]]


def _apply(options: Options, letter: str, argument: str, env: Mapping[str, str], syntax: Syntax) -> None:
    if letter in syntax.flags:
        setattr(options, *syntax.flags[letter])
    elif letter in syntax.texts:
        setattr(options, syntax.texts[letter], argument)
    elif letter in syntax.numbers:
        setattr(options, syntax.numbers[letter], (scan_seconds if letter in SECONDS else scan_number)(argument))
    elif letter == "B":
        options.banner = os.fsencode(argument)
    elif letter == "U":
        options.uid = scan_number(env.get("UID", ""), options.uid)
        options.gid = scan_number(env.get("GID", ""), options.gid)
