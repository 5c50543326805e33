"""One accepted connection: both its ends, and what is found out about them."""

from __future__ import annotations

from qserver.net.addresses import compact, parse_ipv6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAPPED = "::ffff:"


class Visitor:
    """Addresses and ports as text, as logs and environments have them; names that are None are unknown."""

    __slots__ = (
        "fd", "host", "info", "ip", "is_doubtful", "is_v6", "local_host", "local_ip", "local_port", "port", "proxied", "scope",
        "silent",
    )  # fmt: skip

    def __init__(self, fd: int, peer: tuple[Any, ...]) -> None:
        """`peer` is the address that accept gave."""
        self.fd = fd
        self.ip, self.port, self.scope = endpoint(peer)
        self.is_v6 = ":" in self.ip
        self.local_ip = ""
        self.local_port = ""
        self.local_host: str | None = None
        self.host: str | None = None
        self.info: str | None = None
        self.is_doubtful = False
        """It has a name that is not the address's: paranoia has forgotten it."""
        self.proxied = False
        """A proxy has said who it is; the local address too is what the proxy said."""
        self.silent = False
        """A health check, of which the log does not speak."""

    def replace(self, there: tuple[str, str], here: tuple[str, str]) -> None:
        """The ends, (ip, port), that a proxy tells of."""
        self.ip, self.port = there
        self.local_ip, self.local_port = here
        self.is_v6 = ":" in self.ip
        self.scope = 0
        self.proxied = True


def endpoint(address: tuple[Any, ...]) -> tuple[str, str, int]:
    """(ip, port, scope) of a socket address; an IPv4-mapped address is the IPv4 one."""
    ip = address[0]
    if len(address) == 2:
        return ip, str(address[1]), 0
    if ip.startswith(MAPPED) and "." in ip:
        return ip[len(MAPPED) :], str(address[1]), 0
    packed = parse_ipv6(ip.partition("%")[0])
    return (ip if packed is None else compact(packed)), str(address[1]), address[3]
