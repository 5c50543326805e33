"""Signals without the `signal` module, whose import of `enum` costs more than a one-shot command's whole work.

Handlers never act: `WakeUp` turns signals into bytes on a pipe, and the loop that polls the pipe acts on them.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os

SIGHUP: int = _signal.SIGHUP
SIGINT: int = _signal.SIGINT
SIGQUIT: int = _signal.SIGQUIT
SIGABRT: int = _signal.SIGABRT
SIGBUS: int = _signal.SIGBUS
SIGFPE: int = _signal.SIGFPE
SIGILL: int = _signal.SIGILL
SIGKILL: int = _signal.SIGKILL
SIGUSR1: int = _signal.SIGUSR1
SIGUSR2: int = _signal.SIGUSR2
SIGSEGV: int = _signal.SIGSEGV
SIGSYS: int = _signal.SIGSYS
SIGPIPE: int = _signal.SIGPIPE
SIGALRM: int = _signal.SIGALRM
SIGTERM: int = _signal.SIGTERM
SIGCHLD: int = _signal.SIGCHLD
SIGCONT: int = _signal.SIGCONT
SIGSTOP: int = _signal.SIGSTOP
SIGTSTP: int = _signal.SIGTSTP
SIGWINCH: int = _signal.SIGWINCH
SIGIO: int = _signal.SIGIO
SIGXCPU: int = _signal.SIGXCPU
SIGXFSZ: int = _signal.SIGXFSZ

INTERPRETERS_OWN = (SIGPIPE, SIGXFSZ, SIGINT)
"""Dispositions that CPython changes when it starts; a program we become must not see that."""


CHANGED = (SIGCHLD, SIGTERM, SIGPIPE, SIGALRM, SIGXFSZ, SIGINT, SIGHUP)
"""Signals that some command of ours handles or ignores; default in every program that is started."""


def changed() -> tuple[int, ...]:
    """Those of CHANGED that a program is to have at their default: a shell's background job goes on ignoring HUP and INT."""
    return tuple(n for n in CHANGED if n not in (SIGHUP, SIGINT) or _signal.getsignal(n) is not _signal.SIG_IGN)


def default(*numbers: int) -> None:
    """Give these signals their default action."""
    for number in numbers:
        _signal.signal(number, _signal.SIG_DFL)


def ignore(*numbers: int) -> None:
    """Ignore these signals."""
    for number in numbers:
        _signal.signal(number, _signal.SIG_IGN)


def restore_defaults() -> None:
    """Undo what the interpreter did at its start: SIGPIPE and SIGXFSZ default, no KeyboardInterrupt.

    SIGINT stays ignored where the parent ignored it (a shell's background job).
    """
    default(SIGPIPE, SIGXFSZ)
    if _signal.getsignal(SIGINT) is not _signal.SIG_IGN:
        default(SIGINT)


def _nothing(_number: int, _frame: object) -> None:
    """The handler: the wake-up descriptor already carries the signal."""


class WakeUp:
    """Caught signals as readable bytes on a pipe (the self-pipe), for a loop that polls.

    Only one exists in a process at a time, since the interpreter has one wake-up descriptor.
    """

    __slots__ = ("_read", "_write", "caught")

    def __init__(self, caught: tuple[int, ...]) -> None:
        self.caught = caught
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in caught:
            _signal.signal(number, _nothing)

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._read

    def drain(self) -> list[int]:
        """The signals caught since the last call, in order; several of one kind may have merged."""
        seen = b""
        try:
            while len(block := os.read(self._read, 512)) == 512:
                seen += block
            seen += block
        except BlockingIOError:
            pass
        return list(seen)

    def close(self) -> None:
        """Give the caught signals their default action and close the pipe (a forked child does so too)."""
        _signal.set_wakeup_fd(-1)
        default(*self.caught)
        os.close(self._read)
        os.close(self._write)


def alarm(seconds: int) -> int:
    """alarm(2); returns the seconds that were left of an earlier one."""
    left: int = _signal.alarm(seconds)
    return left


def handle(number: int, handler: object) -> object:
    """Install a Python handler and return the one before; for the few that must interrupt a call by raising."""
    before: object = _signal.signal(number, handler)
    return before


def block(*numbers: int) -> None:
    """Add these signals to the mask."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, numbers)


def disposition(number: int) -> object:
    """What the interpreter does at this signal now; costs no system call."""
    handler: object = _signal.getsignal(number)
    return handler


def unblock_all() -> None:
    """Empty the signal mask."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
