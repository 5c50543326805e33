"""The qmail home: where it is, its conf-* values, sibling programs, and which uid plays which role (delivery 0.1)."""

from __future__ import annotations

import os

from qserver.base import chain
from qserver.base.privileges import account, group_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULTS: dict[str, str] = {
    "conf-home": "/var/qmail",
    "conf-break": "-",
    "conf-spawn": "120",
    "conf-split": "23",
    "conf-patrn": "002",
    "conf-log": "/var/log",
    "conf-svcdir": "/service",
    "conf-defaultdelivery": "./Maildir/",
}
"""What counts where no conf-* file is found (operations 2)."""

USER_NUMBERS: dict[str, int] = {
    "alias": 7790,
    "qmaild": 7791,
    "qmaill": 7792,
    "qmailp": 7793,
    "qmailq": 7794,
    "qmailr": 7795,
    "qmails": 7796,
    "sqmtls": 7797,
}
"""conf-ids: what a role counts as when its user is missing in partitioned mode (operations 1.6)."""
GROUP_NUMBERS: dict[str, int] = {"nofiles": 2108, "sqmail": 2109}
QUEUE_GROUP_USERS = ("qmailq", "qmailr", "qmails")


def home(env: Mapping[str, str]) -> str:
    """$QMAILHOME if set and not empty, else conf-home, else /var/qmail."""
    return env.get("QMAILHOME") or _packaged("conf-home") or DEFAULTS["conf-home"]


def conf(name: str, env: Mapping[str, str]) -> str:
    """First line of `$QMAILHOME/conf/NAME`, else of the packaged file, else the default; trailing blanks cut."""
    own = _first_line(f"{home(env)}/conf/{name}")
    if own is None:
        own = _packaged(name)
    return DEFAULTS.get(name, "") if own is None else own


def conf_lines(name: str, env: Mapping[str, str]) -> list[str]:
    """All lines of a conf file that has several (conf-ids …), comments and blank lines dropped."""
    for path in (f"{home(env)}/conf/{name}", *_packaged_paths(name)):
        text = _text(path)
        if text is not None:
            lines = (line.rstrip(" \t\r") for line in text.split("\n"))
            return [line for line in lines if line and not line.startswith("#")]
    return []


def _packaged_paths(name: str) -> tuple[str, str]:
    """Where setup puts a conf file: inside the package, or at the top of a checkout."""
    package = os.path.dirname(os.path.abspath(__file__))
    return f"{package}/conf/{name}", f"{os.path.dirname(package)}/{name}"


_PACKAGED: dict[str, str | None] = {}
"""What was packaged, once read: installed files do not change under a process."""


def _packaged(name: str) -> str | None:
    if name not in _PACKAGED:
        lines = map(_first_line, _packaged_paths(name))
        _PACKAGED[name] = next((line for line in lines if line is not None), None)
    return _PACKAGED[name]


def _first_line(path: str) -> str | None:
    text = _text(path)
    return None if text is None else text.partition("\n")[0].rstrip(" \t")


def _text(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read())
    except OSError:
        return None


def sibling(name: str, env: Mapping[str, str]) -> str:
    """The file of another command: H/bin/NAME, else beside the running command, else NAME for a PATH search."""
    for directory in (f"{home(env)}/bin", chain.bin_directory()):
        if directory is not None and os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    return name


class Identities:
    """Which uid and gid plays which role; decided by who owns queue/mess.

    In partitioned mode (user qmailq exists and owns the queue) roles come from the user data base, otherwise every role
    is the queue's owner.
    """

    __slots__ = ("_groups", "_users", "partitioned", "queue_gid", "queue_uid")

    def __init__(self, queue_uid: int, queue_gid: int, partitioned: bool) -> None:
        self.queue_uid = queue_uid
        self.queue_gid = queue_gid
        self.partitioned = partitioned
        self._users: dict[str, tuple[int, int]] = {}
        self._groups: dict[str, int] = {}

    def uid(self, role: str) -> int:
        """The uid of `qmaild`, `qmailq`, … ."""
        return self.user(role)[0]

    def gid(self, role: str) -> int:
        """The gid of the role's user."""
        return self.user(role)[1]

    def user(self, role: str) -> tuple[int, int]:
        """(uid, gid) of a role."""
        if not self.partitioned:
            return self.queue_uid, self.queue_gid
        if role not in self._users:
            entry = account(role)
            group = "sqmail" if role in QUEUE_GROUP_USERS else "nofiles"
            self._users[role] = (entry.uid, entry.gid) if entry else (USER_NUMBERS[role], self.group(group))
        return self._users[role]

    def group(self, name: str) -> int:
        """The gid of group `sqmail` (an existing `qmail` counts as it) or `nofiles`."""
        if not self.partitioned:
            return self.queue_gid
        if name not in self._groups:
            found = group_id(name)
            if found is None and name == "sqmail":
                found = group_id("qmail")
            self._groups[name] = GROUP_NUMBERS[name] if found is None else found
        return self._groups[name]


def identities(env: Mapping[str, str]) -> Identities:
    """Decide the identities from the owner of `queue/mess` (delivery 0.1). Raises OSError when there is no queue."""
    mess = os.stat(f"{home(env)}/queue/mess")
    entry = account("qmailq")
    return Identities(mess.st_uid, mess.st_gid, entry is not None and entry.uid == mess.st_uid)
