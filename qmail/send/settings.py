"""The control files of qmail-send (delivery 6.1), and those of them that HUP reads again (6.2)."""

from __future__ import annotations

from qmail.control import Controls
from qmail.send.rewrite import Rewriter
from qmail.send.schedule import QUEUE_LIFETIME

CONCURRENCY = (("concurrencylocal", 10), ("concurrencyremote", 20))
"""Control and default of each channel."""


class RereadError(Exception):
    """A control file could not be read again; `name` is its name."""

    def __init__(self, name: bytes) -> None:
        super().__init__(name)
        self.name = name


class Settings:
    """Values as they count now. Raises OSError; LookupError when there is neither locals nor me."""

    __slots__ = (
        "_controls", "bouncefrom", "bouncehost", "bouncemaxbytes", "concurrency", "doublebounceto", "lifetime", "rewriter",
    )  # fmt: skip

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self.lifetime = controls.integer("queuelifetime", QUEUE_LIFETIME)
        self.concurrency = [controls.integer(name, default) for name, default in CONCURRENCY]
        self.bouncefrom = _or(controls.line("bouncefrom"), b"MAILER-DAEMON")
        self.bouncehost = _or(controls.line_or_me("bouncehost"), b"bouncehost")
        to = _or(controls.line("doublebounceto"), b"postmaster")
        self.doublebounceto = b"%b@%b" % (to, _or(controls.line_or_me("doublebouncehost"), b"doublebouncehost"))
        self.bouncemaxbytes = controls.integer("bouncemaxbytes", 0)
        self.rewriter = read_rewriter(controls)

    def reread(self) -> None:
        """What HUP asks for. Raises RereadError at the first file that cannot be read; all old values stay then."""
        name = b""
        try:
            name = b"locals"
            locals_ = self._controls.members("locals", or_me=True)
            if locals_ is None:
                raise RereadError(name)
            name = b"virtualdomains"
            virtualdomains = self._controls.mapping("virtualdomains") or {}
            concurrency = []
            for control, default in CONCURRENCY:
                name = control.encode()
                concurrency.append(self._controls.integer(control, default))
            name = b"queuelifetime"
            lifetime = self._controls.integer("queuelifetime", QUEUE_LIFETIME)
        except OSError:
            raise RereadError(name) from None
        old = self.rewriter
        self.rewriter = Rewriter(old.envnoathost, locals_, old.percenthack, virtualdomains)
        self.concurrency = concurrency
        self.lifetime = lifetime


def read_rewriter(controls: Controls) -> Rewriter:
    """The rules by which recipients are rewritten. Raises OSError; LookupError when there is neither locals nor me."""
    locals_ = controls.members("locals", or_me=True)
    if locals_ is None:
        raise LookupError("neither locals nor me")
    return Rewriter(
        _or(controls.line_or_me("envnoathost"), b"envnoathost"),
        locals_,
        controls.members("percenthack") or frozenset(),
        controls.mapping("virtualdomains") or {},
    )


def _or(value: bytes | None, default: bytes) -> bytes:
    return default if value is None else value
