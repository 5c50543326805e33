"""Whose mail is it: users/cdb first, then the rules of qmail-getpw (delivery 5)."""

from __future__ import annotations

import os

from qmail.home import conf, identities
from qserver.base.cdb import Cdb
from qserver.base.errors import is_temporary
from qserver.base.getopt import scan_number
from qserver.base.privileges import account

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Get = Callable[[bytes], bytes | None]

BAD_RECORD = 112
NFS = 115
NO_ALIAS = 116
BAD_CDB = 117
BUSY = 118

ALIAS = "alias"
"""The user who gets the mail that belongs to no user."""
LONGEST_NAME = 31
FIELDS = 6
LARGEST_ID = 0xFFFFFFFF


class UserTrouble(Exception):
    """Nobody can be named for an address now; `code` is the exit code that qmail-lspawn reports (delivery 4.1)."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class User:
    """Who a delivery is for, in the terms of qmail-local's arguments."""

    __slots__ = ("dash", "extension", "gid", "home", "name", "uid")

    def __init__(self, name: bytes, uid: int, gid: int, home: bytes, dash: bytes, extension: bytes) -> None:
        self.name = name
        self.uid = uid
        self.gid = gid
        self.home = home
        self.dash = dash
        self.extension = extension

    def __repr__(self) -> str:
        return f"User({self.name!r}, {self.uid}, {self.gid}, {self.home!r}, {self.dash!r}, {self.extension!r})"


def lookup(home: str, local: bytes, env: Mapping[str, str]) -> User:
    """The user that the local part of an address belongs to. Raises UserTrouble."""
    found = assigned(home, local)
    return account_user(local, {**env, "QMAILHOME": home}) if found is None else found


def assigned(home: str, local: bytes) -> User | None:
    """What users/cdb says; None where it says nothing or is not there. Raises UserTrouble."""
    try:
        with Cdb.open(f"{home}/users/cdb") as cdb:
            return search(cdb.get, local)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):  # ValueError: a home with a NUL in its name
        raise UserTrouble(BAD_CDB) from None


def search(get: Get, local: bytes) -> User | None:
    """Look for the whole local part, then for ever shorter beginnings that end in a wildcard byte.

    `get` returns the data of a key. Raises UserTrouble for a data base without its wildcard record.
    """
    wildcards = get(b"")
    if wildcards is None:
        raise UserTrouble(BAD_CDB)
    key = b"!" + local.lower()
    data = get(key + b"\0")
    if data is not None:
        return parse(data)
    for size in range(len(key), 0, -1):
        if size == 1 or key[size - 1] in wildcards:
            data = get(key[:size])
            if data is not None:
                return parse(data + local[size - 1 :])
    return None


def parse(data: bytes) -> User:
    """A record: user, uid, gid, home, dash, ext, parted by NULs. Raises UserTrouble for one that is too short."""
    fields = data.split(b"\0")
    if len(fields) < FIELDS:
        raise UserTrouble(BAD_RECORD)
    uid, gid = scan_number(fields[1]), scan_number(fields[2])
    if max(uid, gid) > LARGEST_ID:
        raise UserTrouble(BAD_RECORD)
    return User(fields[0], uid, gid, fields[3], fields[4], fields[5])


def account_user(local: bytes, env: Mapping[str, str]) -> User:
    """qmail-getpw: the account named by the local part or by its beginning up to a break, else alias. Raises UserTrouble."""
    separator = os.fsencode(conf("conf-break", env))[:1] or b"-"
    for name, extension in candidates(local, separator):
        user = _owner_of_a_home(name)
        if user is not None:
            user.dash, user.extension = (b"", b"") if extension is None else (b"-", extension)
            return user
    user = _alias(env)
    user.dash, user.extension = b"-", local
    return user


def candidates(local: bytes, separator: bytes) -> list[tuple[bytes, bytes | None]]:
    """(account name, extension or None) to try in this order: all of the local part, then up to each break, last first."""
    found: list[tuple[bytes, bytes | None]] = [(local.lower(), None)]
    at = local.rfind(separator)
    while at >= 0:
        found.append((local[:at].lower(), local[at + 1 :]))
        at = local.rfind(separator, 0, at)
    return [(name, extension) for name, extension in found if len(name) <= LONGEST_NAME]


def _owner_of_a_home(name: bytes) -> User | None:
    """The account, unless it is root's or its home is not there or not its own. Raises UserTrouble."""
    user = _account(os.fsdecode(name)) if name else None
    if user is None or user.uid == 0:
        return None
    try:
        owner = os.stat(user.home).st_uid
    except OSError as error:
        if is_temporary(error):
            raise UserTrouble(NFS) from None
        return None
    return user if owner == user.uid else None


def _account(name: str) -> User | None:
    try:
        entry = account(name)
    except OSError:
        raise UserTrouble(BUSY) from None
    return None if entry is None else User(os.fsencode(entry.name), entry.uid, entry.gid, os.fsencode(entry.home), b"", b"")


def _alias(env: Mapping[str, str]) -> User:
    """The alias user; in single-user mode the queue's owner in H/alias will do. Raises UserTrouble."""
    user = _account(ALIAS)
    if user is not None:
        return user
    home = f"{env['QMAILHOME']}/alias"
    try:
        roles = identities(env)
    except OSError:
        raise UserTrouble(NO_ALIAS) from None
    if roles.partitioned or not os.path.isdir(home):
        raise UserTrouble(NO_ALIAS)
    return User(os.fsencode(ALIAS), roles.queue_uid, roles.queue_gid, os.fsencode(home), b"", b"")
