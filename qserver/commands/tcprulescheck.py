"""NAME
    tcprulescheck - show which rule of a rules file applies (ucspi-tcp 0.88, ucspi-tcp6)
SYNOPSIS
    tcprulescheck rules.cdb
DESCRIPTION
    Says on descriptor 2 which address, host name and ident answer it looks up, and on descriptor 1 the rule that a server
    would find for them in rules.cdb, and what that rule does.
ENVIRONMENT
    TCPREMOTEIP     the address; else TCP6REMOTEIP, else 0
    TCPREMOTEHOST   the host name; else TCP6REMOTEHOST; unset: none
    TCPREMOTEINFO   the ident answer; unset: none
EXIT
    0; 100 usage; 111 rules.cdb cannot be read
"""

from __future__ import annotations

from qserver.base.errors import Die, error_text, say, usage
from qserver.base.files import write_all
from qserver.net.addresses import network_text
from qserver.net.rules import DENY, SETTING, items, open_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SYNOPSIS = "tcprulescheck rules.cdb"


def main(argv: list[str], env: dict[str, str]) -> int:
    """Look up the peer that the environment describes."""
    if len(argv) < 2:
        raise usage("tcprulescheck", SYNOPSIS)
    ip = env.get("TCPREMOTEIP", env.get("TCP6REMOTEIP", "0"))
    host = env.get("TCPREMOTEHOST", env.get("TCP6REMOTEHOST"))
    info = env.get("TCPREMOTEINFO")
    say("tcprulescheck: info: " + _question(ip, host, info))
    try:
        found = open_rules(argv[1]).find(ip, host, info)
    except OSError as error:
        raise Die(f"tcprulescheck: fatal: (111) unable to read: {argv[1]}: {error_text(error)}") from error
    answer = b"".join(line + b"\n" for line in _description(*(found or (b"", b""))))
    try:
        write_all(1, answer)
    except OSError as error:
        raise Die(f"tcprulescheck: fatal: (111) unable to write output: {error_text(error)}") from error
    return 0


def _question(ip: str, host: str | None, info: str | None) -> str:
    """What is looked up, cut off at what is not known."""
    text = f"TCPREMOTEIP: {ip} TCPREMOTEHOST: "
    if host is None:
        return text
    return f"{text}{host} TCPREMOTEINFO: {'' if info is None else info}"


def _description(key: bytes, data: bytes) -> Iterator[bytes]:
    """The lines about a rule."""
    yield b"rule " + network_text(key) + b":" if key else b"default:"
    for item in items(data):
        if item[:1] == DENY:
            yield b"deny connection"
            return
        if item[:1] == SETTING:
            yield b"set environment variable " + item[1:]
    yield b"allow connection"
