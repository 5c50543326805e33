"""The AUTHORIZATION state of POP3 (RFC 1939 4, 7; RFC 2595 4; access 2.1-2.4) without sockets or processes."""

from __future__ import annotations

from qmail.pop3d.grammar import OKAY, err, multiline, ok, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

APOP_NONE, APOP_ALSO, APOP_ONLY = "none", "also", "only"
"""What POP3AUTH asks for: USER/PASS alone, APOP besides it, APOP alone."""
TLS_NONE, TLS_OFFERED, TLS_REQUIRED = "none", "offered", "required"
"""What UCSPITLS asks for."""

SYNTAX = err(b"syntax error")
USER_FIRST = err(b"USER first")
AUTHORIZATION_FIRST = err(b"authorization first")
TLS_MISSING = err(b"TLS required but not negotiated")
NO_STLS = err(b"STLS not available")


def apop_mode(env: Mapping[str, str]) -> str:
    """POP3AUTH as one of the APOP_ words."""
    wish = env.get("POP3AUTH", "").lower()
    if wish.startswith("+apop"):
        return APOP_ALSO
    return APOP_ONLY if wish.startswith("apop") else APOP_NONE


def tls_mode(env: Mapping[str, str]) -> str:
    """UCSPITLS as one of the TLS_ words."""
    wish = env.get("UCSPITLS")
    if wish is None or wish == "-":
        return TLS_NONE
    return TLS_REQUIRED if wish == "!" else TLS_OFFERED


class Login:
    """Check these credentials; `method` is User or Apop. The subprogram answers."""

    __slots__ = ("method", "name", "response")
    reply = b""

    def __init__(self, method: str, name: bytes, response: bytes) -> None:
        self.method = method
        self.name = name
        self.response = response


class StartTls:
    """Answer `reply`, then go on in TLS and call `tls_started`."""

    reply = ok(b"starting TLS negotiation")


class TlsMissing:
    """The client may not log in before TLS: answer `reply`, log, end."""

    reply = TLS_MISSING


class Quit:
    """Answer `reply` and end."""

    reply = OKAY


Ending = Login | StartTls | TlsMissing | Quit
Answer = bytes | Ending


class Authorization:
    """One dialogue up to the login; `stamp` is `<PID.TIME@host>`, the challenge of APOP."""

    __slots__ = ("_apop", "_name", "_tls", "_tls_active", "stamp")

    def __init__(self, stamp: bytes, apop: str, tls: str) -> None:
        self.stamp = stamp
        self._apop = apop
        self._tls = tls
        self._tls_active = False
        self._name: bytes | None = None

    def greeting(self) -> bytes:
        """The first line; the stamp is shown only where APOP is announced."""
        return b"+OK\r\n" if self._apop == APOP_NONE else ok(self.stamp)

    def command(self, line: bytes) -> Answer:
        """The reply to a command line (without LF), or what has to be done for it."""
        verb, argument = parse(line)
        return COMMANDS.get(verb, Authorization.unknown)(self, argument)

    def tls_started(self) -> None:
        """TLS is up: what the client said before it is forgotten (RFC 2595 4)."""
        self._tls_active = True
        self._name = None

    @property
    def _needs_tls(self) -> bool:
        return self._tls == TLS_REQUIRED and not self._tls_active

    def unknown(self, _argument: bytes) -> Answer:
        """Every other verb, and the empty one."""
        return AUTHORIZATION_FIRST

    def user(self, argument: bytes) -> Answer:
        """USER name."""
        if self._needs_tls:
            return TlsMissing()
        if self._apop == APOP_ONLY:
            return AUTHORIZATION_FIRST
        if not argument:
            return SYNTAX
        self._name = argument
        return OKAY

    def password(self, argument: bytes) -> Answer:
        """PASS password, verbatim with its blanks."""
        if self._apop == APOP_ONLY:
            return AUTHORIZATION_FIRST
        if self._name is None:
            return USER_FIRST
        return Login("User", self._name, argument) if argument else SYNTAX

    def apop(self, argument: bytes) -> Answer:
        """APOP name digest; accepted whether or not the greeting announced it."""
        if self._needs_tls:
            return TlsMissing()
        name, blank, digest = argument.partition(b" ")
        return Login("Apop", name, digest) if blank else SYNTAX

    def stls(self, _argument: bytes) -> Answer:
        """STLS."""
        return NO_STLS if self._tls == TLS_NONE or self._tls_active else StartTls()

    def capa(self, _argument: bytes) -> Answer:
        """CAPA (RFC 2449): USER is not advertised where it would be refused (RFC 2595 4)."""
        announced = {
            b"TOP": True,
            b"USER": self._apop != APOP_ONLY and not self._needs_tls,
            b"UIDL": True,
            b"APOP": self._apop != APOP_NONE,
            b"STLS": self._tls != TLS_NONE and not self._tls_active,
        }
        return multiline(ok(b"capability list follows"), [name for name, shown in announced.items() if shown])

    def noop(self, _argument: bytes) -> Answer:
        """NOOP."""
        return OKAY

    def quit(self, _argument: bytes) -> Answer:
        """QUIT."""
        return Quit()


COMMANDS: dict[bytes, Callable[[Authorization, bytes], Answer]] = {
    b"APOP": Authorization.apop,
    b"CAPA": Authorization.capa,
    b"NOOP": Authorization.noop,
    b"PASS": Authorization.password,
    b"QUIT": Authorization.quit,
    b"STLS": Authorization.stls,
    b"USER": Authorization.user,
}
