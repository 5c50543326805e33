"""tcp-environ (ucspi 1.5): what a server tells its program about the connection."""

from __future__ import annotations

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from qserver.net.visitor import Visitor

OF_CONNECTION = ("TCPLOCALHOST", "TCPREMOTEHOST", "TCPREMOTEINFO")
"""Variables set only when their value is known."""
OF_SERVER = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
"""Said to the server alone (operations 9.5)."""
OF_TLS = ("SSL_PROTOCOL", "SSL_SESSION_ID", "SSL_CIPHER", "SSL_VERSION_", "SSL_SERVER_", "SSL_CLIENT_")
"""What names of mod_ssl variables begin with: inherited ones would pass for this connection's."""
SIX = ("LOCALIP", "LOCALPORT", "LOCALHOST", "REMOTEIP", "REMOTEPORT", "REMOTEHOST")
"""Variables that exist as TCP6... too when the peer is IPv6."""
OF_SSL = (*SIX, "REMOTEINFO")
"""Variables that exist as SSL... too where there is TLS."""
SSL_AND_TCP = tuple((f"SSL{name}", f"TCP{name}") for name in OF_SSL)
UNCERTAIN = (*OF_CONNECTION, "TCP6INTERFACE", *(f"TCP6{name}" for name in SIX))
"""Variables that `for_visitor` does not set for every connection: inherited ones would pass for this connection's."""


def base(env: Mapping[str, str]) -> dict[str, str]:
    """The server's environment without anything that could pass for a connection's."""
    unwanted = (*UNCERTAIN, *OF_SERVER)
    return {name: value for name, value in env.items() if name not in unwanted and not name.startswith(OF_TLS)}


def for_visitor(start: Mapping[str, str], visitor: Visitor, settings: list[tuple[str, str]]) -> dict[str, str]:
    """The program's environment: `start` (made by `base`), the connection's variables, then the rule's settings."""
    env = dict(start)
    env["PROTO"] = "TCP6" if visitor.is_v6 else "TCP"
    env["TCPLOCALIP"] = visitor.local_ip
    env["TCPLOCALPORT"] = visitor.local_port
    env["TCPREMOTEIP"] = visitor.ip
    env["TCPREMOTEPORT"] = visitor.port
    if visitor.local_host is not None:
        env["TCPLOCALHOST"] = visitor.local_host
    if visitor.host is not None:
        env["TCPREMOTEHOST"] = visitor.host
    if visitor.info is not None:
        env["TCPREMOTEINFO"] = visitor.info
    if visitor.is_v6:
        _add_six(env, visitor)
    for name, value in settings:
        env[name] = value
    return env


def base_of_tls(start: Mapping[str, str], *, tcp: bool) -> dict[str, str]:
    """`start` without anything that could pass for a variable that `with_tls` sets."""
    unwanted = (*(f"SSL{name}" for name in OF_SSL), *(UNCERTAIN if tcp else ()))
    return {name: value for name, value in start.items() if name not in unwanted}


def with_tls(start: Mapping[str, str], visitor: Visitor, *, tcp: bool, proto: str = "") -> dict[str, str]:
    """`start` (made by `base_of_tls`) with SSLREMOTEIP and the like for tcp-environ's variables, with those too if `tcp`.

    `proto`: PROTO where that is not to be the usual one (ucspi 6.6, 8).
    """
    of_connection = for_visitor({}, visitor, [])
    env = dict(start)
    for name, of_tcp in SSL_AND_TCP:
        if of_tcp in of_connection:
            env[name] = of_connection[of_tcp]
    if tcp:
        env.update(of_connection)
    env["PROTO"] = proto or of_connection["PROTO"]
    return env


def _add_six(env: dict[str, str], visitor: Visitor) -> None:
    for name in SIX:
        if f"TCP{name}" in env:
            env[f"TCP6{name}"] = env[f"TCP{name}"]
    if visitor.scope:
        try:
            env["TCP6INTERFACE"] = _socket.if_indextoname(visitor.scope)
        except OSError:  # the interface went away meanwhile
            return
