"""Log lines, every format."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmail.smtpd import log
from tests.smtpd.fakes import FakeWorld, dialogue

HOST = b" P:ESMTP S:192.0.2.9:host.client.net H:foo"
GENERIC = HOST + b" F:a@b.c T:x@d"
EVENTS = [
    (b"Reject::TLS::missing", HOST),
    (b"Reject::AUTH::missing", HOST),
    (b"Reject::AUTH::setup", HOST),
    (b"Accept::ORIG::Local_Sender", GENERIC),
    (b"Accept::SNDR::Relay_Client", GENERIC),
    (b"Accept::RCPT::Recipients_Cdb", GENERIC),
    (b"Accept::SPF::Rcpthosts_Rcptto", GENERIC),
    (b"Reject::ORIG::Invalid_Mailfrom", GENERIC),
    (b"Reject::ORIG::DNS_MF", GENERIC),
    (b"Reject::SNDR::Invalid_Relay", GENERIC),
    (b"Reject::RCPT::Toomany_Rcptto", GENERIC),
    (b"Reject::RCPT::Failed_Rcptto", GENERIC),
    (b"Reject::RCPT::Bad_Rcptto", GENERIC),
    (b"Reject::SPF::Fail", GENERIC),
    (b"Reject::DATA::Invalid_Size", GENERIC),
    (b"Deferred::SNDR::Grey_Listed", GENERIC),
    (b"Reject::SNDR::Bad_Helo", GENERIC + b" 'i'"),
    (b"Reject::SNDR::DNS_Helo", GENERIC + b" 'i'"),
    (b"Reject::ORIG::Bad_Mailfrom", GENERIC + b" 'i'"),
    (b"Reject::DATA::Bad_MIME", GENERIC + b" 'i'"),
    (b"Reject::DATA::Bad_Loader", GENERIC + b" 'i'"),
    (b"Reject::DATA::Spam_Message", GENERIC + b" 'i'"),
    (b"Reject::DATA::MIME_Attach", GENERIC + b" 'i'"),
    (b"Reject::DATA::Virus_Infected", GENERIC + b" 'i'"),
    (b"Accept::AUTH::plain", GENERIC + b" ?~ 'i'"),
    (b"Reject::AUTH::login", HOST + b" ?~ 'i'"),
    (b"Reject::AUTH::Auth_Meth", HOST + b" ?~ 'i'"),
]


@pytest.mark.parametrize(("event", "fields"), EVENTS)
def test_line(tmp_path: Path, event: bytes, fields: bytes) -> None:
    session = dialogue(tmp_path, FakeWorld()).session
    session.helo = b"foo"
    assert log.line(12, event, session, b"a@b.c", b"x@d", b"i") == b"qmail-smtpd: pid 12 " + event + fields + b"\n"


def test_unset_fields_are_empty_and_controls_harmless(tmp_path: Path) -> None:
    session = dialogue(tmp_path, FakeWorld()).session
    line = log.line(12, b"Reject::ORIG::Bad_Mailfrom", session, info=b"\n\x1b\x7f\xe4")
    assert line.endswith(b" H: F: T: '???\xe4'\n")


def test_every_event_is_in_the_tests() -> None:
    assert set(log.FORMATS) <= {event for event, _ in EVENTS}


def test_unknown_event() -> None:
    with pytest.raises(KeyError):
        log.format_of(b"Accept::Nothing")
