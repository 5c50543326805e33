"""NAME
    qmail-authuser - checkpassword-compatible authentication by users/authuser (s/qmail 4)
SYNOPSIS
    qmail-authuser [ -s authsocket [ -x service=method ] ] program [ args ... ]
    qmail-authuser true program [ args ... ]
    qmail-authuser program [ args ... ] true
DESCRIPTION
    Reads login NUL response NUL challenge NUL from descriptor 3, decides by the entry of the login in users/authuser,
    and on success becomes program. A lone true only checks. Before another program runs, an account accepted by the
    token ! and a login that users/cdb assigns to a user get that user's groups, ids, home directory, USER and HOME.
    Values of an entry: a password; %HEX with 32, 40 or 64 digits (MD5, SHA-1, SHA-256 of the password); a crypt(3)
    string; {SCHEME}...; ? and ! system account; + checkvpw; & vchkpw; = Dovecot.
OPTIONS
    -s authsocket      Dovecot's auth socket, for entries with the value =
    -x service=method  the service to name to Dovecot
ENVIRONMENT
    QMAILHOME  the qmail home
FILES
    users/authuser, else control/authuser   login:value, @domain:value, @:value, *:value; !login and !@domain disable
    users/cdb                               mailboxes of logins
EXIT
    1 login rejected; 2 misused; 111 temporary trouble; otherwise program's own status. Nothing is printed.
"""

from __future__ import annotations

from qmail.auth import userfile
from qmail.auth.authuser import check, parse_arguments
from qmail.auth.checkpassword import ACCEPTED, MISUSED, TEMPORARY, read_input
from qmail.home import home
from qserver.base import chain
from qserver.base.errors import Die


def main(argv: list[str], env: dict[str, str]) -> int:
    """Check descriptor 3, then become the program."""
    call = parse_arguments(argv)
    if call is None:
        return MISUSED
    try:
        users = userfile.load(home(env))
        data = read_input()
    except OSError:
        return TEMPORARY
    outcome = check(call, users, data, env)
    del users, data
    if outcome.code != ACCEPTED:
        return outcome.code
    if outcome.identity is not None:
        code = outcome.identity.become()
        if code != ACCEPTED:
            return code
        env = outcome.identity.environment(env)
    try:
        chain.execute(call.program, env, "qmail-authuser")
    except Die:
        return TEMPORARY
