"""One-value files of a service directory: `timeout-kill`, `timeout-finish`, `down-signal`, `notification-fd`, `backoff`.

They are read when they are needed, so a changed file is heeded at the next occasion. What cannot be read or does not
make sense is said once at each occasion and counts as if it were not there.
"""

from __future__ import annotations

import os

from qserver.base import signals
from qserver.base.errors import warn

PROG = "supervise"
LARGEST = 2**31 - 1
LONGEST_FILE = 65536
"""Bytes of a file that are looked at."""

FINISH_PATIENCE = 5000
"""Milliseconds that `finish` may take."""
LONGEST_BACKOFF, YOUNG = 60_000, 10_000
"""Milliseconds: the longest pause before a restart, and the age under which a service dies young."""
LOWEST_NOTIFICATION, HIGHEST_NOTIFICATION = 3, 1023
"""Descriptors that a service may announce its readiness on."""

SIGNALS: dict[str, int] = {
    "HUP": signals.SIGHUP,
    "INT": signals.SIGINT,
    "QUIT": signals.SIGQUIT,
    "ABRT": signals.SIGABRT,
    "KILL": signals.SIGKILL,
    "USR1": signals.SIGUSR1,
    "USR2": signals.SIGUSR2,
    "PIPE": signals.SIGPIPE,
    "ALRM": signals.SIGALRM,
    "TERM": signals.SIGTERM,
    "CONT": signals.SIGCONT,
    "STOP": signals.SIGSTOP,
    "TSTP": signals.SIGTSTP,
    "WINCH": signals.SIGWINCH,
    "IO": signals.SIGIO,
}
"""Names that `down-signal` may hold."""
HIGHEST_SIGNAL = 64


def milliseconds(service: str, name: str, default: int) -> int:
    """The number in a file, or `default`."""
    words = _words(service, name)
    if not words:
        return default
    number = _number(words[0])
    return _nonsense(service, name, default) if number is None or len(words) > 1 else number


def down_signal(service: str) -> int:
    """The signal that `d` sends."""
    words = _words(service, "down-signal")
    if not words:
        return signals.SIGTERM
    number = _number(words[0])
    if number is None:
        number = SIGNALS.get(words[0].upper().removeprefix("SIG"), 0)
    if len(words) > 1 or not 0 < number <= HIGHEST_SIGNAL:
        return _nonsense(service, "down-signal", signals.SIGTERM)
    return number


def notification(service: str) -> int | None:
    """The descriptor on which a service announces that it is ready; None where it does not."""
    words = _words(service, "notification-fd")
    if words is None:
        return None
    number = _number(words[0]) if len(words) == 1 else None
    if number is None or not LOWEST_NOTIFICATION <= number <= HIGHEST_NOTIFICATION:
        _nonsense(service, "notification-fd", 0)
        return None
    return number


def backoff(service: str) -> tuple[int, int] | None:
    """The longest pause and the age of the young, in milliseconds; None where there is no backing off."""
    words = _words(service, "backoff")
    if words is None:
        return None
    numbers = [_number(word) for word in words]
    if len(numbers) > 2 or None in numbers:
        _nonsense(service, "backoff", 0)
        numbers = []
    given = [number for number in numbers if number is not None]
    cap, young = (*given, *(LONGEST_BACKOFF, YOUNG)[len(given) :])
    return cap, young


def _words(service: str, name: str) -> list[str] | None:
    """What a file holds; None where there is none or it cannot be read."""
    text = text_of(service, name)
    return None if text is None else text.split()


def text_of(service: str, name: str) -> str | None:
    """A file of the service, or None; says why it cannot be read."""
    try:
        return head(name)
    except FileNotFoundError:
        return None
    except OSError as error:
        warn(PROG, f"unable to read {service}/{name}", error)
        return None


def head(path: str) -> str:
    """The beginning of a file, a NUL taken as the end of a line; never waits. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.fsdecode(os.read(fd, LONGEST_FILE)).replace("\0", "\n")
    finally:
        os.close(fd)


def lines(text: str) -> list[str]:
    """The lines of a file that say something: no blanks around them, no empty ones, none that begin with `#`."""
    return [line for line in map(str.strip, text.splitlines()) if line and line[:1] != "#"]


def _number(word: str) -> int | None:
    """A decimal number that fits; ASCII digits only."""
    if not word.isascii() or not word.isdigit() or len(word) > 10 or int(word) > LARGEST:
        return None
    return int(word)


def _nonsense(service: str, name: str, default: int) -> int:
    warn(PROG, f"bad value in {service}/{name}")
    return default
