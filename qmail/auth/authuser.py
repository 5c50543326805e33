"""qmail-authuser's decision as a function: arguments and the bytes of descriptor 3 in, verdict out (access 4)."""

from __future__ import annotations

from qmail.auth import userfile
from qmail.auth.accounts import check_account
from qmail.auth.checkpassword import (
    ACCEPTED,
    INPUT_LIMIT,
    MISUSED,
    REJECTED,
    TEMPORARY,
    Credentials,
    Identity,
    Outcome,
    parse,
)
from qmail.auth.delegates import WRAPPERS, ask_dovecot, run_wrapper
from qmail.auth.mailbox import MailboxTrouble, find_mailbox
from qmail.auth.schemes import verify
from qmail.home import home
from qserver.base.errors import Die
from qserver.base.getopt import getopt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NO_FDS: dict[int, int] = {}


class Invocation:
    """A call of qmail-authuser: the program it is to become, and Dovecot's socket and service."""

    __slots__ = ("program", "service", "socket")

    def __init__(self, program: list[str], socket: str | None, service: str) -> None:
        self.program = program
        self.socket = socket
        self.service = service

    @property
    def is_check_only(self) -> bool:
        """Whether the program is a lone `true`: SMTP AUTH wants only the exit code."""
        return len(self.program) == 1 and _is_true(self.program[0])


def parse_arguments(argv: list[str]) -> Invocation | None:
    """The call, with the additional `true` of either form dropped; None when there is no program or a bad option."""
    try:
        options, words = getopt(argv, "s:x:", "", MISUSED)
    except Die:
        return None
    if not words:
        return None
    if len(words) > 1 and _is_true(words[0]):
        words = words[1:]
    elif len(words) > 1 and words[-1] == "true":
        words = words[:-1]
    given = dict(options)
    service = given.get("x") or ("smtp" if len(words) == 1 and _is_true(words[0]) else "pop3")
    return Invocation(words, given.get("s"), _method(service))


def _is_true(word: str) -> bool:
    return word == "true" or word.endswith("/true")


def _method(option: str) -> str:
    """`service=method` of -x stands for its method, where it has one."""
    service, _, method = option.partition("=")
    return method or service


def check(call: Invocation, users: bytes, data: bytes, env: dict[str, str], fds: Mapping[int, int] = NO_FDS) -> Outcome:
    """The verdict on the bytes `data` of descriptor 3 by the text `users` of users/authuser.

    `fds` are descriptors that a wrapped module gets ({0: network …}); empty: those of this process.
    """
    if len(data) > INPUT_LIMIT:
        return Outcome(MISUSED)
    who = parse(data)
    if who is None:
        return Outcome(MISUSED)
    entries = userfile.UserFile(users)
    if entries.is_disabled(who.login, who.domain):
        return Outcome(REJECTED)
    token = entries.token(who.login, who.domain)
    if not token:
        return Outcome(REJECTED)
    if len(token) == 1:
        return _ask_delegate(token, call, who, data, env, fds)
    code = verify(token, who)
    return Outcome(code) if code != ACCEPTED or call.is_check_only else _with_mailbox(who, env)


def _ask_delegate(
    token: bytes, call: Invocation, who: Credentials, data: bytes, env: dict[str, str], fds: Mapping[int, int]
) -> Outcome:
    """The one-letter tokens."""
    if token == b"?":
        return Outcome(check_account(who).code)
    if token == b"!":
        return check_account(who)
    if token in WRAPPERS:
        return Outcome(run_wrapper(token, data, env, fds))
    if token == b"=" and call.socket is not None:
        return Outcome(ask_dovecot(call.socket, call.service, who))
    return Outcome(MISUSED)


def _with_mailbox(who: Credentials, env: dict[str, str]) -> Outcome:
    """Accepted, as the user that deliveries to this login become, if users/cdb names one."""
    try:
        identity: Identity | None = find_mailbox(who.login, home(env))
    except MailboxTrouble:
        return Outcome(TEMPORARY)
    return Outcome(ACCEPTED, identity)
