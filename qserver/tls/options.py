"""What sslserver's options ask for beyond tcpserver's (ucspi 6)."""

from __future__ import annotations

from qserver.net.options import SHORT as TCP_FLAGS
from qserver.net.options import VERBOSE, WITH_NUMBER, WITH_TEXT, Options, Syntax

VERY_VERBOSE = VERBOSE + 1
NO_CERTIFICATE, CERTIFICATE, CERTIFICATE_AND_NAME = range(3)
"""-Z, -m, -z."""


class TlsOptions(Options):
    """The same, and TLS."""

    __slots__ = (
        "client", "delayed", "idle", "late_banner", "password_fd", "tcp_variables", "tls_timeout",
        "tls_variables",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.no_delay = True
        self.unreadable = "fatal"
        self.tls_timeout = 26
        self.idle = 3600
        self.delayed = False
        self.late_banner = b""
        """Said in TLS: the banner, where TLS comes at once."""
        self.tls_variables = False
        self.tcp_variables = True
        self.password_fd = False
        self.client = NO_CERTIFICATE

    def shows_cipher(self) -> bool:
        """-V: version and cipher too."""
        return self.level >= VERY_VERBOSE

    def bind_trouble(self, ip: str, port: int) -> str:
        """ucspi-ssl says where."""
        return f"unable to bind to: {ip} port: {port}"

    def blocking_look_ups(self) -> bool:
        """A session always keeps its worker."""
        return True


FLAGS: dict[str, tuple[str, object]] = {
    **{letter: setting for letter, setting in TCP_FLAGS.items() if letter not in "v"},
    "v": ("level", VERBOSE),
    "3": ("password_fd", True),
    "n": ("delayed", True), "N": ("delayed", False),
    "s": ("tls_variables", True), "S": ("tls_variables", False),
    "e": ("tcp_variables", True), "E": ("tcp_variables", False),
    "z": ("client", CERTIFICATE_AND_NAME), "m": ("client", CERTIFICATE), "Z": ("client", NO_CERTIFICATE),
    "V": ("level", VERY_VERBOSE),
}  # fmt: skip
SYNTAX = Syntax(
    "sslserver",
    "sslserver [ -1346UXpPhHrRoOdDqQvVIeEsSnNmzZ ] [ -c limit ] [ -y iprules.cdb ] [ -x rules.cdb ] [ -B banner ]"
    " [ -g gid ] [ -u uid ] [ -b backlog ] [ -l localname ] [ -t timeout ] [ -I interface ] [ -T ssltimeout ]"
    " [ -w progtimeout ] host port program [ arg ... ]",
    "1346UXpPhHrRoOdDqQvVeEsSnNmzZc:y:x:B:g:u:b:l:t:I:T:w:",
    FLAGS,
    {**WITH_TEXT, "y": "ip_rules"},
    {**WITH_NUMBER, "T": "tls_timeout", "w": "idle"},
)
