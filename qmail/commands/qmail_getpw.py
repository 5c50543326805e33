"""NAME
    qmail-getpw - name the user of an address that users/cdb does not have

SYNOPSIS
    qmail-getpw local

DESCRIPTION
    Looks in the user data base for the local part and, break by break, for its beginnings. The first user counts who is
    not root and owns the home; where there is none, it is alias. Prints user, uid, gid, home, dash and extension, each
    ended by NUL. qmail-lspawn does the same by itself. Follows qmail-getpw of qmail 1.03 and s/qmail.

ENVIRONMENT
    QMAILHOME

FILES
    conf/conf-break: the break (-); alias: a home for alias where no such user exists and nobody has a role of its own

EXIT
    0; 100 usage; 115 a home cannot be looked at now; 116 no alias user; 118 the user data base is busy
"""

from __future__ import annotations

import os

from qmail.home import home
from qmail.local.users import UserTrouble, account_user
from qserver.base.errors import PERMANENT, TEMPORARY
from qserver.base.files import write_all


def main(argv: list[str], env: dict[str, str]) -> int:
    """Print the user on descriptor 1."""
    if len(argv) < 2:
        return PERMANENT
    try:
        user = account_user(os.fsencode(argv[1]), {**env, "QMAILHOME": home(env)})
    except UserTrouble as trouble:
        return trouble.code
    fields = (user.name, b"%d" % user.uid, b"%d" % user.gid, user.home, user.dash, user.extension)
    try:
        write_all(1, b"".join([field + b"\0" for field in fields]))
    except OSError:
        return TEMPORARY
    return 0
