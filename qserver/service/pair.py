"""What svscan knows of one service: its supervise and perhaps its log's, and the pipe between what the two run.

Also svscan as tables: what each event does to it, and to each supervise, in each state (daemontools 3).
"""

from __future__ import annotations

import errno
import os
import time

from qserver.base import signals
from qserver.base.errors import warn
from qserver.service.pipes import Drain

PROG = "svscan"
INTERVAL = 5.0
"""Seconds between two scans."""
PAUSE = 1.0
"""Seconds between two starts of one supervise, at least."""
COULD_NOT_START = 111 << 8
"""Wait status of a supervise that had nothing to supervise: it is tried again no sooner than at the next scan."""
LONGEST_LOGGED_NAME = 255

SCANNING, STOPPING = "scanning", "stopping"
TERM, HUP, TIME = "TERM or INT", "HUP", "time"
SCANNER: dict[tuple[str, str], str] = {
    # state, event        what svscan does
    (SCANNING, TERM): "stop",
    (SCANNING, HUP): "hurry",
    (SCANNING, TIME): "look",  # every 5 s, sooner if a supervise is to be replaced
    (STOPPING, TIME): "shut_down",  # every second
}

ABSENT, RUNNING, TOLD = "absent", "running", "told to end"
LOOK, HURRY, END, BAD_END, DISMISS = "look", "hurry", "end", "end with 111", "dismiss"
SUPERVISE: dict[tuple[str, str], str] = {
    # state, event        what is done to one supervise
    (ABSENT, LOOK): "start",  # not before it is due
    (ABSENT, HURRY): "bring_forward",
    (RUNNING, END): "bury",  # due again a second after its start
    (RUNNING, BAD_END): "bury_for_long",  # due again at the next scan
    (RUNNING, DISMISS): "terminate",  # a log only when its service is gone and the pipe empty
    (TOLD, END): "bury",
    (TOLD, BAD_END): "bury",
}


class Half:
    """One supervise: of the service or of its log."""

    __slots__ = ("due", "last", "pid", "state")

    def __init__(self) -> None:
        self.state = ABSENT
        self.pid = 0
        self.last = 0.0
        """Monotonic time of its last start."""
        self.due = 0.0
        """Monotonic time before which it is not started."""

    def happen(self, event: str) -> bool:
        """Do what the table says; whether there was something to do."""
        action = SUPERVISE.get((self.state, event))
        if action is not None:
            getattr(self, action)()
        return action is not None

    def start(self) -> None:
        """It is about to be forked; should that fail, the next scan tries again."""
        self.last = time.monotonic()
        self.due = self.last + INTERVAL

    def started(self, pid: int) -> None:
        """It was."""
        self.pid = pid
        self.state = RUNNING

    def bring_forward(self) -> None:
        """Start it as soon as the second is over."""
        self.due = min(self.due, self.last + PAUSE)

    def bury(self) -> None:
        """It is gone."""
        self.pid = 0
        self.state = ABSENT
        self.due = self.last + PAUSE

    def bury_for_long(self) -> None:
        """It is gone, and would be again."""
        self.bury()
        self.due = self.last + INTERVAL

    def terminate(self) -> None:
        """svscan ends."""
        self.state = TOLD
        os.kill(self.pid, signals.SIGTERM)


def end_of(status: int) -> str:
    """The event that a wait status is."""
    return BAD_END if status == COULD_NOT_START else END


class Service:
    """A service directory, known by device and inode."""

    __slots__ = ("drain", "identity", "log", "main", "name", "ours", "pipe", "seen")

    def __init__(self, name: str, identity: tuple[int, int], pipe: tuple[int, int] | None, *, ours: bool = False) -> None:
        self.name = name
        self.identity = identity
        self.pipe = pipe
        self.ours = ours
        """It reads what svscan itself has to say."""
        self.main = Half()
        self.log = Half() if pipe is not None and not ours else None
        self.seen = True
        """The last scan found it."""
        self.drain: Drain | None = None

    def halves(self) -> list[Half]:
        """Main, and log if there is one."""
        return [self.main] if self.log is None else [self.main, self.log]

    def is_idle(self) -> bool:
        """Neither supervise runs."""
        return not any(half.pid for half in self.halves())

    def is_drained(self) -> bool:
        """Whether the logger has read what the service left behind; first asked when the service is gone."""
        if self.pipe is None:
            return True
        if self.drain is None:
            self.drain = Drain(self.pipe[0])
        return self.drain.is_over()

    def shown(self, half: Half) -> str:
        """How messages call one supervise."""
        return f"{self.name}/log" if half is self.log else self.name

    def close_writing_end(self) -> None:
        """From now on a logger in the middle of a line finds the end of its input instead of waiting for the rest."""
        if self.pipe is not None:
            null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(null, self.pipe[1], inheritable=False)
            os.close(null)


def directory_identity(name: str) -> tuple[int, int] | None:
    """Device and inode, symbolic links followed; None for what is no directory. Raises OSError."""
    info = os.stat(name)
    return (info.st_dev, info.st_ino) if info.st_mode & 0o170000 == 0o040000 else None


def has_log(name: str) -> bool | None:
    """Whether NAME/log is a directory; None when one cannot know now."""
    if len(os.fsencode(name)) > LONGEST_LOGGED_NAME:
        return False
    try:
        return os.stat(f"{name}/log").st_mode & 0o170000 == 0o040000
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        warn(PROG, f"unable to stat {name}/log", error)
        return None
