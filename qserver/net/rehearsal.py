"""The first sessions of a server: before anybody is forked, with a visitor who is not there (ucspi 5, Workers).

The interpreter settles code after some calls: it counts them, rewrites instructions, remembers where attributes were found.
Workers that are forked before that do it each for itself, in pages that all could have shared, and slowly. So the master
plays a worker as often as it takes. The visitor says some words and leaves; nobody is looked up and no rule is asked,
the program knows nothing of the environment but its home, nothing is logged, and what has been changed is put back.
"""

from __future__ import annotations

import _socket
import os

from qserver.base import signals
from qserver.net.bindings import Listener
from qserver.net.scoreboard import Scoreboard
from qserver.net.site import Site
from qserver.net.standing import Standing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qserver.net.options import Options

TIMES = 12
"""The interpreter counts eight calls of a function before it settles its code, and then runs of the code."""
KEPT = ("PATH", "QMAILHOME")
CELLS = 4
"""Of the stage's scoreboard: the worker's, and some for those that it believes to be ready."""


def rehearse(site: Site, play: Callable[[Site], None]) -> None:
    """Let `play` play on a site like the real one, with descriptor 2 where nobody reads.

    What it lacks (descriptors, processes) the real ones will say.
    """
    try:
        errors = os.dup(2)
    except OSError:
        return
    os.set_inheritable(errors, False)
    try:
        _rehearse(site, play)
    except OSError:
        return
    finally:
        os.dup2(errors, 2)
        os.close(errors)


def _rehearse(site: Site, play: Callable[[Site], None]) -> None:
    nobody = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nobody, 2)
    os.close(nobody)
    env = {name: value for name, value in site.start.items() if name in KEPT}
    standing, door = Standing(), _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        door.bind(("127.0.0.1", 0))
        door.listen(1)
        stage = Site(_tame(site.options), env, [Listener(door, False)], Scoreboard(CELLS), site.log, site.grows)
        try:
            for _ in range(TIMES):  # what every fork begins with
                signals.WakeUp((signals.SIGCHLD,)).close()
            play(stage)
        finally:
            stage.close()
    finally:
        door.close()
        standing.restore()
        standing.close()


def _tame(options: Options) -> Options:
    """The same, without what asks others or waits."""
    tame = type(options)()
    for kind in type(options).__mro__:
        for name in getattr(kind, "__slots__", ()):
            setattr(tame, name, getattr(options, name))
    tame.names = tame.info = tame.proxy = tame.no_delay = False
    tame.rules = tame.ip_rules = tame.most_per_address = None
    tame.banner, tame.local_name = b"", options.local_name or "localhost"
    tame.sessions = 1
    return tame
