"""Reply texts with the administrator's words in them, and the table of queue results."""

from __future__ import annotations

import pytest

from qmail.smtpd import replies
from qmail.smtpd.results import outcome

REFUSALS = [
    (replies.BAD_HELO, "REPLY_HELO", b"550 sorry, invalid HELO/EHLO greeting %s (#5.7.1)\r\n"),
    (
        replies.BAD_MAILFROM,
        "REPLY_BADMAILFROM",
        b"553 sorry, your envelope sender is in my badmailfrom list %s (#5.7.1)\r\n",
    ),
    (replies.NO_SENDER_HOST, "REPLY_SENDEREXIST", b"553 sorry, your envelope sender must exist %s (#5.7.1)\r\n"),
    (
        replies.NO_GATEWAY,
        "REPLY_NOGATEWAY",
        b"553 sorry, that domain isn't in my list of allowed rcpthosts %s (#5.7.1)\r\n",
    ),
    (
        replies.BAD_RCPTTO,
        "REPLY_BADRCPTTO",
        b"553 sorry, your envelope recipient is in my badrcptto list %s (#5.7.1)\r\n",
    ),
    (replies.BAD_CONTENT, "REPLY_CONTENT", b"554 sorry, invalid message content %s (#5.3.2)\r\n"),
]


@pytest.mark.parametrize(("kind", "variable", "text"), REFUSALS)
def test_refusal(kind: tuple[bytes, bytes, tuple[str, ...]], variable: str, text: bytes) -> None:
    assert replies.refusal(kind, {}) == text % b""
    assert replies.refusal(kind, {variable: "call +1 \udcff"}) == text % b"call +1 \xff"


RESULTS = [
    ((11, 115), b"554 envelope address too long for qq (#5.1.3)"),
    ((31,), b"554 mail server permanently rejected message (#5.3.0)"),
    ((12, 30, 35, 40), b"554 qq permanent problem (#5.3.0)"),
    ((51,), b"451 qq out of memory (#4.3.0)"),
    ((52,), b"451 qq timeout (#4.3.0)"),
    ((53,), b"451 qq write error or disk full (#4.3.0)"),
    ((54, 0), b"451 qq read error (#4.3.0)"),
    ((55,), b"451 qq unable to read configuration (#4.3.0)"),
    ((56,), b"451 qq trouble making network connection (#4.3.0)"),
    ((61,), b"451 qq trouble in home directory (#4.3.0)"),
    ((62, 63, 64, 65, 66), b"451 qq trouble creating files in queue (#4.3.0)"),
    ((71,), b"451 mail server temporarily rejected message (#4.3.0)"),
    ((72,), b"451 connection to mail server timed out (#4.4.1)"),
    ((73,), b"451 connection to mail server rejected (#4.4.1)"),
    ((74,), b"451 communication with mail server failed (#4.4.2)"),
    ((81, 91), b"451 qq internal bug (#4.3.0)"),
    ((120,), b"451 unable to exec qq (#4.3.0)"),
    ((1, 10, 41, 57, 99, 111, 255), b"451 qq temporary problem (#4.3.0)"),
    ((-1,), b"451 qq crashed (#4.3.0)"),
]


@pytest.mark.parametrize(("codes", "reply"), RESULTS)
def test_queue_results(codes: tuple[int, ...], reply: bytes) -> None:
    for code in codes:
        result = outcome(code, {})
        assert result.reply == reply + b"\r\n", code
        assert result.event == b""


@pytest.mark.parametrize(
    ("code", "event", "info"),
    [
        (32, b"Reject::DATA::Virus_Infected", b"AV scanner"),
        (33, b"Reject::DATA::Spam_Message", b"spam"),
        (34, b"Reject::DATA::MIME_Attach", b"MIME"),
    ],
)
def test_scanner_results(code: int, event: bytes, info: bytes) -> None:
    result = outcome(code, {})
    assert (result.reply, result.event, result.info) == (
        b"554 sorry, invalid message content  (#5.3.2)\r\n",
        event,
        info,
    )
