"""Where a service's `supervise` directory is, and the two fifos by which one finds out and commands (daemontools 2)."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LISTEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
SPEAK = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC


def directory(env: Mapping[str, str]) -> str:
    """The supervise directory of the service that is the current directory: `supervise`, moved by $SUPERVISEDIR."""
    name = env.get("SUPERVISEDIR", "")
    if name[:1] != "/":
        return name or "supervise"
    return f"{name}/{os.getcwd()[1:].replace('/', ':')}"


def is_running(place: str) -> bool:
    """Whether a supervise holds `ok` open. Raises OSError for trouble other than that."""
    try:
        os.close(os.open(f"{place}/ok", SPEAK))
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
    return True


def is_executable_file(path: str) -> bool:
    """A regular file that its owner may execute: how `log`, `start`, `stop` and `notify` are told from other things."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return mode & 0o170100 == 0o100100
