"""Accounts and identity changes."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Account:
    """What commands need of a passwd entry."""

    __slots__ = ("gid", "home", "name", "shell", "uid")

    def __init__(self, name: str, uid: int, gid: int, home: str, shell: str) -> None:
        self.name = name
        self.uid = uid
        self.gid = gid
        self.home = home
        self.shell = shell


def account(name: str) -> Account | None:
    """The account of that name (NSS), or None. Raises OSError when the data base cannot be asked."""
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell)


def group_id(name: str) -> int | None:
    """The number of the group of that name, or None."""
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def become(uid: int, gid: int, groups: Sequence[int] | None = None) -> None:
    """Take supplementary groups (default: only `gid`), gid and uid, in this order. Raises OSError.

    An identity one already has is a no-op, so a process that is not root may "become" itself.
    """
    if os.geteuid() == 0:
        os.setgroups([gid] if groups is None else list(groups))
    if os.getgid() != gid or os.getegid() != gid:
        os.setgid(gid)
    if os.getuid() != uid or os.geteuid() != uid:
        os.setuid(uid)
