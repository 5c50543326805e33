"""The mailbox of a login: POP3 has to find the Maildir that deliveries to the same address go to (access 4.3)."""

from __future__ import annotations

import os

from qmail.auth.checkpassword import Identity
from qmail.control import shared
from qmail.local.users import User, UserTrouble, assigned
from qmail.send.schedule import LOCAL
from qmail.send.settings import read_rewriter


class MailboxTrouble(Exception):
    """The tables cannot be read now, or name root."""


def find_mailbox(login: bytes, home: str) -> Identity | None:
    """The user that users/cdb assigns the login to, None when it assigns none. Raises MailboxTrouble.

    A login with a domain goes through locals and virtualdomains as qmail-send would send it. Only root changes ids.
    """
    try:
        local = _local_part(login, home)
        user = None if local is None else assigned(home, local)
    except (OSError, UserTrouble) as error:
        raise MailboxTrouble from error
    return None if user is None else _identity(login, user)


def _local_part(login: bytes, home: str) -> bytes | None:
    """What qmail-lspawn would look for; None for an address that is not local. Raises OSError."""
    if b"@" not in login:
        return login
    try:
        channel, address = read_rewriter(shared(home)).rewrite(login)
    except LookupError:  # neither locals nor me: nothing is local here
        return None
    return address.rpartition(b"@")[0] if channel == LOCAL else None


def _identity(login: bytes, user: User) -> Identity:
    if os.geteuid() != 0:
        return Identity(login, os.fsdecode(user.home), None, None)
    if user.uid == 0:
        raise MailboxTrouble
    return Identity(login, os.fsdecode(user.home), user.uid, user.gid)
