"""What stands between accept and the program, in the order of ucspi 5: socket options, banner, names, ident, rules."""

from __future__ import annotations

import _socket

from qserver.base.errors import error_text
from qserver.base.files import write_all
from qserver.base.getopt import scan_number
from qserver.net.names import ask_ident, has_address, name_of
from qserver.net.rules import look_up, open_rules
from qserver.net.visitor import endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qserver.net.bindings import Listener
    from qserver.net.lookup import Resolver
    from qserver.net.options import Options
    from qserver.net.visitor import Visitor

DROPPED = 110
DENIED = 100
TROUBLE = 111
NOT_FOR_PROGRAMS = ("PROXY",)
"""Settings that speak to the server."""


class Dropped(Exception):
    """The connection is given up before the rules have decided: exit `code`, and what the log says after `kind:`."""

    def __init__(self, code: int, doing: str, error: OSError | None = None, kind: str = "drop") -> None:
        super().__init__(f"({code}) {doing}" + (f": {error_text(error)}" if error is not None else ""))
        self.code = code
        self.kind = kind


class Decision:
    """What the rules say: whether the client is served, what the log adds, the settings for the program."""

    __slots__ = ("allowed", "note", "settings")

    def __init__(self, allowed: bool, settings: list[tuple[str, str]], note: str = "") -> None:
        self.allowed = allowed
        self.settings = settings
        self.note = note


ALLOWED = Decision(True, [])
UNDECIDED = Decision(True, [])
"""No rule speaks of the client."""


class Reception:
    """The same for every visitor of a server. The master makes it; each worker gets a resolver of its own when it needs one."""

    __slots__ = ("_env", "_options", "_resolver", "_wants_names")

    def __init__(self, options: Options, env: Mapping[str, str]) -> None:
        self._options = options
        self._env = env
        self._wants_names = options.names or options.local_name is None
        self._resolver: Resolver | None = None

    def unwrap(self, visitor: Visitor) -> None:
        """Learn from a proxy's header who the client is. Raises Dropped."""
        from qserver.net import proxy

        try:
            ends = proxy.receive(visitor.fd)
        except proxy.BadHeader:
            raise Dropped(DROPPED, f"bad PROXY header from: {visitor.ip}") from None
        visitor.silent = ends.is_check
        if ends.there is not None and ends.here is not None:
            visitor.replace(ends.there, ends.here)

    def is_proxy(self, ip: str) -> bool:
        """By --proxy, or by a rule for its address."""
        rules, every = self._options.rules, self._options.proxy
        if rules is None:
            return every
        try:
            if not every and not open_rules(rules).speaks_of_proxies:
                return False
            rule = look_up(rules, ip, None, None)
        except OSError as error:  # if it is trouble, `examine` says so
            return every and isinstance(error, FileNotFoundError) and self._options.rules_may_miss
        if rule is None or rule.deny:
            return every and rule is None
        return every or any(name in NOT_FOR_PROGRAMS for name, _ in rule.settings)

    def examine(self, visitor: Visitor, listener: Listener, sessions_before: Callable[[], int]) -> Decision:
        """Whether and how to serve; fills in the visitor. `sessions_before` counts older ones of his address.

        Raises Dropped.
        """
        options = self._options
        self._prepare(visitor, listener)
        visitor.local_host = options.local_name
        if options.banner:
            try:
                write_all(visitor.fd, options.banner)
            except OSError as error:
                raise Dropped(TROUBLE, "unable to print banner", error) from error
        if options.ip_rules is not None:
            decision = self._decide(options.ip_rules, visitor, sessions_before)
            if decision is not UNDECIDED:
                return decision
        if self._wants_names:
            self._find_names(visitor)
        if options.info:
            ask_ident(visitor, options.info_timeout)
        decision = UNDECIDED if options.rules is None else self._decide(options.rules, visitor, sessions_before)
        return ALLOWED if decision is UNDECIDED else decision

    def _prepare(self, visitor: Visitor, listener: Listener) -> None:
        """IP options off, the local address."""
        kill_options = not self._options.keep_ip_options and not visitor.is_v6
        if visitor.proxied:
            return
        if listener.local is not None:
            visitor.local_ip, visitor.local_port = listener.local
            if not kill_options:
                return
        sock = _socket.socket(listener.sock.family, _socket.SOCK_STREAM, 0, visitor.fd)
        try:
            if kill_options:
                sock.setsockopt(_socket.IPPROTO_IP, _socket.IP_OPTIONS, b"")
            if listener.local is None:
                visitor.local_ip, visitor.local_port, _ = endpoint(sock.getsockname())
        except OSError:  # the client is gone already; the program will see
            return
        finally:
            sock.detach()

    def _find_names(self, visitor: Visitor) -> None:
        """The names of both ends as far as they are wanted."""
        options, resolver = self._options, self._resolver
        if resolver is None:
            from qserver.net.lookup import Resolver

            resolver = self._resolver = Resolver(self._env)
        if options.local_name is None:
            visitor.local_host = name_of(resolver, visitor.local_ip)
        if options.names:
            host = name_of(resolver, visitor.ip)
            if host is not None and options.paranoid and not has_address(resolver, host, visitor.ip):
                visitor.is_doubtful = True
                return
            visitor.host = host

    def _decide(self, rules: str, visitor: Visitor, sessions_before: Callable[[], int]) -> Decision:
        """What the rules file says. Raises Dropped when it cannot be read."""
        options = self._options
        try:
            rule = look_up(rules, visitor.ip, visitor.host, visitor.info)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and options.rules_may_miss:
                return UNDECIDED
            raise Dropped(DROPPED, f"unable to read: {rules}", error, options.unreadable) from error
        if rule is None:
            return UNDECIDED
        if rule.deny:
            return Decision(False, [])
        settings = [setting for setting in rule.settings if setting[0] not in NOT_FOR_PROGRAMS]
        for name, value in settings:
            if name == "MAXCONIP":
                most = min(scan_number(value), options.limit)
                if most and sessions_before() >= most:
                    return Decision(False, [], f" ip connection limit:{most} exceeded")
        return Decision(True, settings)
