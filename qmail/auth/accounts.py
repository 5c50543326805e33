"""Logins of system accounts: the tokens `?` and `!` (access 4.4)."""

from __future__ import annotations

import os

from qmail.auth.checkpassword import ACCEPTED, REJECTED, TEMPORARY, Credentials, Identity, Outcome
from qmail.auth.schemes import check_crypt


def check_account(who: Credentials) -> Outcome:
    """Compare the response with the account's crypt(3) hash; accepted with the identity of §1.1."""
    import pwd

    if not who.local or b"\0" in who.local:
        return Outcome(REJECTED)
    try:
        entry = pwd.getpwnam(os.fsdecode(who.local))
    except KeyError:
        return Outcome(REJECTED)
    except OSError:
        return Outcome(TEMPORARY)
    stored = _stored_hash(who.local, os.fsencode(entry.pw_passwd))
    if not stored:
        return Outcome(TEMPORARY)
    if stored.startswith((b"!", b"*")):
        return Outcome(REJECTED)
    code = check_crypt(stored, who.response)
    if code != ACCEPTED:
        return Outcome(code)
    return Outcome(ACCEPTED, Identity(who.login, entry.pw_dir, entry.pw_uid, entry.pw_gid, entry.pw_shell))


def _stored_hash(name: bytes, passwd_field: bytes) -> bytes:
    """The shadow entry where it can be read, else the passwd field; empty when neither tells."""
    from qmail.auth.libcrypt import shadow_password

    try:
        shadow = shadow_password(name)
    except OSError:
        return b"" if passwd_field == b"x" else passwd_field
    return passwd_field if shadow is None else shadow
