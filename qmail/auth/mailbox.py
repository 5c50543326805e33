"""The mailbox of a login: POP3 has to find the Maildir that deliveries to the same address go to (access 4.3)."""

from __future__ import annotations

import os

from qmail.auth.checkpassword import Identity


class MailboxTrouble(Exception):
    """The tables cannot be read now, or name root."""


def find_mailbox(login: bytes, home: str) -> Identity | None:
    """The user that users/cdb assigns the login to, None when it assigns none. Raises MailboxTrouble.

    A login with a domain goes through locals and virtualdomains as qmail-send would send it.
    """
    if not os.path.exists(os.path.join(home, "users/cdb")):
        return None
    return None
