"""qmail-remote's reports (delivery 8): a letter, a text, a NUL; first one per recipient, then one for the message."""

from __future__ import annotations

IMPROPER = b"Dqmail-remote was invoked improperly. (#5.3.5)\n"
NO_HOME = b"ZUnable to switch to home directory. (#4.3.0)\n"
NO_CONTROLS = b"ZUnable to read control files. (#4.3.0)\n"
NO_SOCKET = b"ZSystem resources temporarily unavailable. (#4.3.0)\n"
NO_MEMORY = b"ZOut of memory. (#4.3.0)\n"
NO_MESSAGE = b"ZUnable to read message. (#4.3.0)\n"
PARTIAL_LINE = b"DSMTP cannot transfer messages with partial final lines. (#5.6.2)\n"
NO_CONNECTION = b"ZSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n"
NO_EXCHANGER = b"DSorry, I couldn't find a mail exchanger or IP address. (#5.4.4)\n"
LOOP = (
    b"DSorry. Although I'm listed as a best-preference MX or A for that host,\n"
    b"it isn't in my control/locals file, so I don't treat it as local. (#5.4.6)\n"
)
BAD_BINDING = b"ZInvalid ipaddr in control/domainips (#4.3.0)\n"

PRINTABLE = bytes(byte if 33 <= byte <= 126 else 63 for byte in range(256))


class Verdict(Exception):
    """The message report that ends the delivery: letter and text."""

    def __init__(self, report: bytes) -> None:
        super().__init__(report)
        self.report = report


def host_not_found(host: bytes, *, temporary: bool) -> Verdict:
    """The DNS does not know the host, or does not say."""
    name = host.translate(PRINTABLE)
    if temporary:
        return Verdict(b"ZSorry, I couldn't find any host named: %b. (#4.1.2)\n" % name)
    return Verdict(b"DSorry, I couldn't find any host named %b. (#5.1.2)\n" % name)


def cannot_bind(address: str) -> Verdict:
    """control/domainips names an address that cannot be used."""
    return Verdict(b"ZCan't bind to local ip address: %b. (#4.3.0)\n" % address.encode())


def connection_died(ip: str, *, maybe_delivered: bool) -> Verdict:
    """A time-out, an error or the end where a reply was due."""
    doubt = b"Possible duplicate! " if maybe_delivered else b""
    return Verdict(b"ZConnected to %b but connection died. %b(#4.4.2)\n" % (ip.encode(), doubt))


def remote_said(text: bytes) -> bytes:
    """The server's reply as it stands in a report; nothing if it said nothing."""
    return b"Remote host said: " + text if text else b""
