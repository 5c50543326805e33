"""What a process knows about the queue of a home: where it is, its split, who may write it, who invokes (delivery 2.1)."""

from __future__ import annotations

import os

from qmail.dates import date822
from qmail.home import Identities, identities
from qmail.queue import codes
from qmail.queue.names import split_of

INVOKERS: dict[str, bytes] = {
    "alias": b"invoked by alias",
    "qmaild": b"invoked from network",
    "qmails": b"invoked for bounce",
}


class Site:
    """The queue of one home, as long as its mess directory stays the same: its owner, its subdirectories."""

    __slots__ = ("_invokers", "home", "identities", "queue", "split", "stamp")

    def __init__(self, home: str, who: Identities, stamp: tuple[int, int, int, int]) -> None:
        self.home = home
        self.queue = f"{home}/queue"
        self.split = split_of(self.queue)
        self.identities = who
        self.stamp = stamp
        self._invokers: dict[int, bytes] = {}

    def invoked(self, uid: int) -> bytes:
        """How the Received line names the invoker.

        In single-user mode the special texts are for users alias, qmaild and qmails that exist in the data base.
        """
        known = self._invokers.get(uid)
        if known is None:
            known = self._invokers[uid] = self._special(uid) or b"invoked by uid %d" % uid
        return known

    def _special(self, uid: int) -> bytes | None:
        from qserver.base.privileges import account

        for role, text in INVOKERS.items():
            if self.identities.partitioned:
                if self.identities.uid(role) == uid:
                    return text
            elif uid != self.identities.queue_uid and (entry := account(role)) is not None and entry.uid == uid:
                return text
        return None

    def received(self, pid: int, uid: int, now: float) -> bytes:
        """The first line of the mess file."""
        return b"Received: (qmail %d %b); %b\n" % (pid, self.invoked(uid), date822(now))

    def may_write(self) -> bool:
        """Whether this process writes the queue itself: it is the owner, or the directories are writable for it."""
        if os.geteuid() == self.identities.queue_uid:
            return True
        if os.geteuid() == 0:  # files would be root's; the command drops first, a server asks the service
            return False
        writable = os.W_OK | os.X_OK
        return os.access(f"{self.queue}/pid", writable) and os.access(f"{self.queue}/mess", writable)


def service_socket(home: str) -> str:
    """Where qmail-queued listens. Everybody may know; the queue itself is closed to strangers."""
    return f"{home}/run/queue.sock"


_SITES: dict[str, Site] = {}
"""One per home of this process. Only a cache, checked against the directory at every use."""


def site_of(home: str) -> Site:
    """The queue of `home`. Raises OSError when there is none, PermissionError for a stranger, who may not look."""
    mess = os.stat(f"{home}/queue/mess")
    stamp = (mess.st_dev, mess.st_ino, mess.st_uid, mess.st_ctime_ns)  # messages change the subdirectories only
    known = _SITES.get(home)
    if known is None or known.stamp != stamp:
        known = _SITES[home] = Site(home, identities({"QMAILHOME": home}), stamp)
    return known


def trouble_of(home: str) -> int | None:
    """61 when there is no such home, 62 when it has no queue, else None; what one may not look at is there."""
    for path, code in ((home, codes.NO_HOME), (f"{home}/queue", codes.NO_QUEUE), (f"{home}/queue/mess/.", codes.NO_QUEUE)):
        try:
            os.stat(path)
        except PermissionError:
            return None
        except OSError:
            return code
    return None
