"""qmail-start: one warm interpreter forks the daemons, joins them by pipes and becomes qmail-send (delivery 3).

No daemon of ours is exec'd; one that is not ours gets the same descriptors by a real exec.
"""

from __future__ import annotations

import fcntl
import os
import select

from qmail.home import Identities, home, identities, sibling
from qserver.base import chain, signals, title
from qserver.base.errors import TEMPORARY, Die
from qserver.base.files import read_file
from qserver.base.privileges import become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

DEFAULT_DELIVERY = "./Mailbox"
LIFE_FD = 7
"""The writing end of a pipe that only qmail-send holds: its end tells the queue service that qmail-send is gone."""
FIRST_FREE = 8
"""Descriptors 0 to 7 are taken, so that no pipe's end is in the place of another's."""


class Daemon:
    """A row of the table: which identity it takes (None: as started), and its descriptors 0 and 1 by name."""

    __slots__ = ("name", "role", "stdin", "stdout")

    def __init__(self, name: str, role: str | None, stdin: str, stdout: str) -> None:
        self.name = name
        self.role = role
        self.stdin = stdin
        self.stdout = stdout


DAEMONS = (
    Daemon("qmail-lspawn", None, "send→lspawn", "lspawn→send"),
    Daemon("qmail-rspawn", "qmailr", "send→rspawn", "rspawn→send"),
    Daemon("qmail-clean", "qmailq", "send→clean", "clean→send"),
    Daemon("qmail-queued", "qmailq", "null", "log"),
)
PIPES = ("send→lspawn", "lspawn→send", "send→rspawn", "rspawn→send", "send→clean", "clean→send")
"""qmail-send has their ends as descriptors 1 to 6, and the log as 0."""
LIFE = "life"


def start(words: list[str], env: dict[str, str]) -> NoReturn:
    """Start everything; `words` are defaultdelivery and a logger with its arguments. Raises OSError, Die."""
    if "QMAILHOME" in env:
        env = {**env, "QMAILHOME": os.path.abspath(env["QMAILHOME"])}
    who = identities(env)
    set_title = title.setter()
    delivery = words[0] if words else _default_delivery(env)
    os.chdir("/")
    os.umask(0o077)
    if os.geteuid() == 0:
        os.setgid(who.group("sqmail"))
    for fd in range(2, FIRST_FREE):
        os.dup2(0, fd)
    if len(words) > 1:
        _start_logger(words[1:], env, who)
    ends = {name: os.pipe2(os.O_CLOEXEC) for name in (*PIPES, LIFE)}
    for daemon in DAEMONS:
        arguments = [delivery] if daemon.name == "qmail-lspawn" else []
        _fork(_Birth(daemon, arguments, env, who, ends, set_title))
    for fd, source in [(0, 1)] + [(n, ends[name][n % 2]) for n, name in enumerate((*PIPES, LIFE), 1)]:
        os.dup2(source, fd)
    os.closerange(FIRST_FREE, _highest(ends) + 1)
    _take_identity(who, "qmails")
    set_title("qmail-send")
    chain.execute([sibling("qmail-send", env)], env, "qmail-start")


def _default_delivery(env: dict[str, str]) -> str:
    try:
        return os.fsdecode(read_file(f"{home(env)}/control/defaultdelivery")).rstrip("\n")
    except FileNotFoundError:
        return DEFAULT_DELIVERY


def _take_identity(who: Identities, role: str) -> None:
    """Become the role's user; without root one is that user already. Raises OSError."""
    uid, gid = who.user(role)
    if os.geteuid() == 0 or os.geteuid() != uid:
        become(uid, gid)


def _highest(ends: dict[str, tuple[int, int]]) -> int:
    return max(max(pair) for pair in ends.values())


def _fork(life: Callable[[], None]) -> None:
    """Run `life` in a child. Raises OSError."""
    if os.fork() == 0:
        try:
            life()
        except (OSError, Die):
            os._exit(TEMPORARY)
        finally:
            os._exit(TEMPORARY)


def _start_logger(argv: list[str], env: dict[str, str], who: Identities) -> None:
    """The logger reads what we and qmail-send write to descriptor 1."""
    back, out = os.pipe2(os.O_CLOEXEC)

    def live() -> None:
        _take_identity(who, "qmaill")
        os.dup2(back, 0)
        os.closerange(2, max(back, out) + 1)
        chain.execute(argv, env, "qmail-start")

    _fork(live)
    os.dup2(out, 1)
    os.close(back)
    os.close(out)


class _Birth:
    """What a forked child does to become one of the daemons."""

    __slots__ = ("_arguments", "_daemon", "_ends", "_env", "_title", "_who")

    def __init__(
        self,
        daemon: Daemon,
        arguments: list[str],
        env: dict[str, str],
        who: Identities,
        ends: dict[str, tuple[int, int]],
        set_title: Callable[[str], object],
    ) -> None:
        self._daemon = daemon
        self._arguments = arguments
        self._env = env
        self._who = who
        self._ends = ends
        self._title = set_title

    def __call__(self) -> None:
        """Raises OSError, Die."""
        daemon = self._daemon
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null if daemon.stdin == "null" else self._ends[daemon.stdin][0], 0)
        if daemon.stdout != "log":
            os.dup2(self._ends[daemon.stdout][1], 1)
        os.dup2(null, 2)
        os.dup2(self._ends[LIFE][0], 3, inheritable=False)
        os.closerange(4, max(null, _highest(self._ends)) + 1)
        if daemon.role is not None:
            _take_identity(self._who, daemon.role)
        self._title(" ".join([daemon.name, *self._arguments]))
        if daemon.name == "qmail-queued":
            _end_with_the_writer_of(3)
        else:
            os.close(3)
        chain.execute([sibling(daemon.name, self._env), *self._arguments], self._env, "qmail-start")


def _end_with_the_writer_of(fd: int) -> None:
    """Have the kernel send us TERM when nobody holds the writing end of this pipe any more."""
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETSIG, signals.SIGTERM)  # type: ignore[attr-defined,unused-ignore]
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_RDONLY | os.O_ASYNC)
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    if poller.poll(0):
        os._exit(0)
