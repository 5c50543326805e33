"""Names of addresses, as servers and clients want them: the first PTR, and whether the name leads back; ident answers."""

from __future__ import annotations

import _socket
import os

from qserver.net import ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from qserver.net.lookup import Resolver
    from qserver.net.visitor import Visitor

    class Wishes(Protocol):
        """What a client's options say of names."""

        names: bool
        info: bool
        info_timeout: int
        local_name: str | None


def name_of(resolver: Resolver, ip: str) -> str | None:
    """The first name of an address; None where there is none or nobody says."""
    from qserver.net.lookup import DnsTemporary

    try:
        names = resolver.ptr(ip)
    except DnsTemporary:
        return None
    return os.fsdecode(names[0]) if names else None


def has_address(resolver: Resolver, name: str, ip: str) -> bool:
    """Whether the address is one of the name's."""
    from qserver.net.addresses import parse
    from qserver.net.lookup import DnsTemporary

    try:
        found = resolver.addresses(name, _socket.AF_INET6 if ":" in ip else _socket.AF_INET)
    except DnsTemporary:
        return False
    return parse(ip) in map(parse, found)


def find_names(options: Wishes, server: Visitor, env: Mapping[str, str]) -> None:
    """For a client: the names of both ends and the server's ident answer, as far as they are wanted."""
    server.local_host = options.local_name
    if options.names or options.local_name is None:
        from qserver.net.lookup import Resolver

        resolver = Resolver(env)
        if options.local_name is None:
            server.local_host = name_of(resolver, server.local_ip)
        if options.names:
            server.host = name_of(resolver, server.ip)
    if options.info:
        ask_ident(server, options.info_timeout)


def ask_ident(visitor: Visitor, seconds: float) -> None:
    """Who the other end says has the connection."""
    here, there = (visitor.local_ip, visitor.local_port), (visitor.ip, visitor.port)
    answer = ident.ask(there, here, visitor.scope, seconds)
    visitor.info = None if answer is None else os.fsdecode(answer)
