"""qmail-popup's one log line, on descriptor 5 (access 2.6)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_FD = 5
CONTROL_BYTES = bytes(63 if byte < 32 or byte == 127 else byte for byte in range(256))
MAPPED = "::ffff:"


def pair(env: Mapping[str, str], name: str) -> str | None:
    """TCP6name if set, else TCPname; an IPv4-mapped remote address loses its prefix."""
    value = env.get("TCP6" + name, env.get("TCP" + name))
    if value is not None and name == "REMOTEIP":
        value = value.removeprefix(MAPPED)
    return value


def protocol(env: Mapping[str, str]) -> str:
    """POP3S where TLS was there from the start: port 995, or any but 110 with sslserver's variables."""
    port = pair(env, "LOCALPORT")
    at_start = port == "995" or (port not in (None, "110") and "SSL_PROTOCOL" in env)
    return "POP3S" if at_start else "POP3"


def session_line(env: Mapping[str, str], verdict: str, proto: str, user: bytes) -> bytes:
    """`qmail-popup: pid PID VERDICT P:PROTO S:IP:HOST ?~ 'USER'`, VERDICT such as Accept::AUTH::User."""
    ip = pair(env, "REMOTEIP") or "unknown"
    host = pair(env, "REMOTEHOST") or "unknown"
    start = f"qmail-popup: pid {os.getpid()} {verdict} P:{proto} S:{ip}:{host} ?~ '"
    return os.fsencode(start) + user.translate(CONTROL_BYTES) + b"'\n"


def write_line(line: bytes) -> None:
    """Write to descriptor 5, or nowhere.

    Only a descriptor that an exec'ed program would find there is the log; one marked close-on-exec belongs to the
    process that serves us.
    """
    try:
        if os.get_inheritable(LOG_FD):
            os.write(LOG_FD, line)
    except OSError:
        return
