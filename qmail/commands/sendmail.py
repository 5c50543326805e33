"""NAME
    sendmail, mailq - the sendmail interface of qmail

SYNOPSIS
    sendmail [ -t ] [ -fsender ] [ -Fname ] [ -bp ] [ -bs ] [ arg ... ]
    mailq

DESCRIPTION
    Injects a message with qmail-inject, for programs that know no other mailer than sendmail. Follows sendmail of qmail 1.03.

OPTIONS
    -t         send to the recipients in the header as well
    -f sender  the envelope sender; From is made of it too
    -F name    the name in From
    -bm        inject (default)
    -bp        become qmail-qread, as when called mailq
    -bs        become qmail-smtpd on descriptors 0 and 1; unless PROTO is set, for a local client that may relay
    -B -E -J -N -e -i -m -o -p -v -x  have no effect

ENVIRONMENT
    QMAILHOME; what qmail-inject and qmail-smtpd read

EXIT
    that of the program it becomes; 100 usage; 111 home directory or program missing
"""

from __future__ import annotations

import os

from qmail.home import home as qmail_home
from qmail.home import sibling
from qserver.base import chain
from qserver.base.errors import PERMANENT, TEMPORARY, Die
from qserver.base.getopt import getopt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

USAGE = "sendmail: usage: sendmail [ -t ] [ -fsender ] [ -Fname ] [ -bp ] [ -bs ] [ arg ... ]"
OPTIONS = "vimte:f:p:o:B:F:E::J::xN:b:"
PERSON = ("QMAILNAME", "MAILNAME", "NAME", "QMAILHOST", "MAILHOST")
"""What -f takes out of the environment."""
LOCAL_CLIENT = {
    "RELAYCLIENT": "",
    "DATABYTES": "0",
    "PROTO": "TCP",
    "TCPLOCALIP": "127.0.0.1",
    "TCPLOCALHOST": "localhost",
    "TCPREMOTEIP": "127.0.0.1",
    "TCPREMOTEHOST": "localhost",
    "TCPREMOTEINFO": "sendmail-bs",
}
"""How -bs introduces itself to qmail-smtpd."""


def main(argv: list[str], env: dict[str, str]) -> int:
    """Become qmail-inject, qmail-smtpd or qmail-qread."""
    env = dict(env)
    try:
        os.chdir(qmail_home(env))
    except OSError:
        raise Die("sendmail: fatal: unable to switch to qmail home directory", TEMPORARY) from None
    options, recipients = getopt(argv, OPTIONS, USAGE)
    sender: str | None = None
    for letter, value in options:
        if letter == "b" and value[:1] != "m":
            _become_other(value, env)
        elif letter == "f":
            sender = value
        elif letter == "F":
            env["MAILNAME"] = value
    called = argv[0].rpartition("/")[2]
    if called == "mailq":
        _become(["qmail-qread"], env)
    if called == "newaliases":
        raise Die("sendmail: fatal: please use fastforward/newaliases instead", PERMANENT)
    arguments = ["-H" if ("t", "") in options else "-a"]
    if sender is not None:
        arguments += ["-f", sender]
        _introduce(sender, env)
    _become(["qmail-inject", *arguments, "--", *recipients], env)


def _become_other(mode: str, env: dict[str, str]) -> NoReturn:
    """-b, other than m."""
    if mode[:1] == "p":
        _become(["qmail-qread"], env)
    if mode[:1] == "s":
        _become(["qmail-smtpd"], env if "PROTO" in env else env | LOCAL_CLIENT)
    raise Die(USAGE, PERMANENT)


def _introduce(sender: str, env: dict[str, str]) -> None:
    """From is to say what -f says, not what the environment does."""
    for name in PERSON:
        env.pop(name, None)
    box, at, host = sender.rpartition("@")
    env["QMAILUSER"] = box if at else sender
    if at:
        env["QMAILHOST"] = host


def _become(argv: list[str], env: dict[str, str]) -> NoReturn:
    name = argv[0]
    try:
        chain.execute([sibling(name, env), *argv[1:]], env, "sendmail")
    except Die:
        raise Die(f"sendmail: fatal: unable to run {name}", TEMPORARY) from None
