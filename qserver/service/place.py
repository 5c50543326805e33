"""Where a service's files are: its `supervise` directory, the fifo that tells whether supervise runs (daemontools 2)."""

from __future__ import annotations

import errno
import os

from qserver.base.errors import fatal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LISTEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
SPEAK = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC


def directory(env: Mapping[str, str]) -> str:
    """The supervise directory of the service that is the current directory: `supervise`, moved by $SUPERVISEDIR.

    Raises OSError where the current directory has no path.
    """
    name = env.get("SUPERVISEDIR", "")
    if name[:1] != "/":
        return name or "supervise"
    return f"{name}/{os.getcwd()[1:].replace('/', ':')}"


def of(path: str, env: Mapping[str, str]) -> str:
    """The supervise directory of the service directory `path`, from any current directory. Raises OSError."""
    name = env.get("SUPERVISEDIR", "")
    if name[:1] != "/":
        return os.path.join(path, name or "supervise")
    return f"{name}/{os.path.realpath(path)[1:].replace('/', ':')}"


def shown(name: str, where: str) -> str:
    """The supervise directory `where` of the service `name`, for a message."""
    return where if where[:1] == "/" else f"{name}/{where}"


def starting_point(prog: str) -> int:
    """A descriptor of the current directory, for `go_back`. Raises Die."""
    try:
        return os.open(".", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise fatal(prog, "unable to open current directory", error) from error


def go_back(prog: str, start: int) -> None:
    """Return to the directory that names of services are relative to. Raises Die."""
    try:
        os.fchdir(start)
    except OSError as error:
        raise fatal(prog, "unable to set directory", error) from error


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


def exists(path: str) -> bool:
    """Whether something is there, as far as stat can tell: only "no such file" is a no."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
