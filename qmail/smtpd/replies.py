"""Everything the server says, word for word (smtpd 4, 7, 8, 14, 15)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OK = b"250 ok\r\n"
FLUSHED = b"250 flushed\r\n"
VRFY = b"252 send some mail, i'll try my best\r\n"
HELP = b"214 sqmail home page: http://fehcom.de/sqmail.html\r\n"
GO_AHEAD = b"354 go ahead\r\n"

OUT_OF_MEMORY = b"421 out of memory (#4.3.0)\r\n"
NO_CONTROLS = b"421 unable to read controls (#4.3.0)\r\n"
NO_INTERFACES = b"421 unable to figure out my IP addresses (#4.3.0)\r\n"
TOO_MANY_ERRORS = b"421 too many errors (#4.7.0)\r\n"
BUG = b"421 internal bug (#4.3.0)\r\n"

TIMEOUT = b"451 timeout (#4.4.2)\r\n"
DNS_FAILURE = b"451 DNS temporary failure (#4.3.0)\r\n"
NO_QUEUE = b"451 qqt failure (#4.3.0)\r\n"
BARE_LF = b"451 Bare Line Feeds (LF) are not accepted in SMTP; CRLF is required according to RFC 2822.\r\n"
TOO_MANY_RECIPIENTS = b"452 sorry, too many recipients (#4.5.3)\r\n"
NO_TLS = b"454 TLS not available due to temporary reason (#5.7.3)\r\n"

UNIMPLEMENTED = b"500 unimplemented (#5.5.1)\r\n"
LINE_TOO_LONG = b"500 line too long (#5.5.2)\r\n"
MAIL_FIRST = b"503 MAIL first (#5.5.1)\r\n"
RCPT_FIRST = b"503 RCPT first (#5.5.1)\r\n"
NOTORIOUS = b"503 DATA command not accepted at this time (#5.5.1)\r\n"
NO_AUTH = b"503 auth not available (#5.3.3)\r\n"
TOO_BIG = b"552 sorry, that message size exceeds my databytes limit (#5.3.4)\r\n"
LOOPING = b"554 too many hops, this message is looping (#5.4.6)\r\n"
SYNTAX = b"555 syntax error (#5.5.4)\r\n"

ERROR_CODES = frozenset((b"500", b"501", b"503", b"504", b"555"))
"""Replies that count towards TOO_MANY_ERRORS."""

BAD_HELO = (b"550 sorry, invalid HELO/EHLO greeting", b"(#5.7.1)", ("REPLY_HELO",))
BAD_MAILFROM = (b"553 sorry, your envelope sender is in my badmailfrom list", b"(#5.7.1)", ("REPLY_BADMAILFROM",))
NO_SENDER_HOST = (b"553 sorry, your envelope sender must exist", b"(#5.7.1)", ("REPLY_SENDEREXIST",))
NO_GATEWAY = (
    b"553 sorry, that domain isn't in my list of allowed rcpthosts",
    b"(#5.7.1)",
    ("REPLY_NOGATEWAY",),
)
BAD_RCPTTO = (b"553 sorry, your envelope recipient is in my badrcptto list", b"(#5.7.1)", ("REPLY_BADRCPTTO",))
BAD_CONTENT = (b"554 sorry, invalid message content", b"(#5.3.2)", ("REPLY_CONTENT",))


def refusal(kind: tuple[bytes, bytes, Sequence[str]], env: Mapping[str, str]) -> bytes:
    """A refusal with the administrator's text: `kind` is (words, enhanced code, variables in order of preference).

    Without a text there are two blanks before the code.
    """
    words, code, variables = kind
    text = next((env[name] for name in variables if name in env), "")
    return b"%s %s %s\r\n" % (words, os.fsencode(text), code)


def lines(code: bytes, texts: Sequence[bytes]) -> bytes:
    """A reply of one or more lines."""
    *first, last = texts
    return b"".join([b"%s-%s\r\n" % (code, text) for text in first]) + b"%s %s\r\n" % (code, last)


def is_error(reply: bytes) -> bool:
    """Whether the reply tells a client that it does not know the protocol."""
    return reply[:3] in ERROR_CODES
