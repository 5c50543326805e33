"""Soft resource limits (daemontools 17), and what they mean for an interpreter.

A memory limit made for a C program leaves an interpreter no room. A program of ours therefore gets the number plus what it
has mapped (`give_room`); a foreign one gets the exact number, set by `chain` right before the process becomes that program
(`exact`) or after it was started (`exact_for`).
"""

from __future__ import annotations

import errno
import os
import resource

from qserver.base import heap

OPTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    # letter: (limits, variable of daemontools-encore)
    "a": (("AS",), "SOFTLIMIT_ALLBYTES"),
    "c": (("CORE",), "SOFTLIMIT_COREBYTES"),
    "d": (("DATA",), "SOFTLIMIT_DATABYTES"),
    "f": (("FSIZE",), "SOFTLIMIT_FILEBYTES"),
    "l": (("MEMLOCK",), "SOFTLIMIT_LOCKEDBYTES"),
    "o": (("NOFILE",), "SOFTLIMIT_OPENFILES"),
    "p": (("NPROC",), "SOFTLIMIT_PROCS"),
    "r": (("RSS",), "SOFTLIMIT_RSSBYTES"),
    "s": (("STACK",), "SOFTLIMIT_STACKBYTES"),
    "t": (("CPU",), "SOFTLIMIT_CPUSECS"),
    "m": (("DATA", "STACK", "MEMLOCK", "AS"), "SOFTLIMIT_MEMBYTES"),
}
"""In the order in which the variables count: SOFTLIMIT_MEMBYTES after those of single limits."""
UNLIMITED = resource.RLIM_INFINITY
LARGEST = (1 << 63) - 1
"""Above it setrlimit's argument does not fit; such a number is far above every hard limit, or unlimited."""
MAPPED = {resource.RLIMIT_AS: (0,), resource.RLIMIT_DATA: (5,)}
"""Limit of memory → the fields of /proc/self/statm, in pages, that count towards it."""
PIECES = (40, 400, 65536)
"""Sizes of memory that the interpreter takes from different places."""

Limit = tuple[int, int]
"""soft, hard; UNLIMITED for none."""


def number_of(name: str) -> int | None:
    """The system's number of the limit `RLIMIT_name`; None where there is no such limit."""
    found: int | None = getattr(resource, f"RLIMIT_{name}", None)
    return found


def changed(text: str, limit: Limit) -> Limit:
    """What an option's or variable's value makes of a limit. Raises ValueError for a value that is none."""
    hard = limit[1]
    if text == "=":
        return hard, hard
    if text == "-":
        return UNLIMITED, UNLIMITED
    if text and not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    soft = int(text or 0)
    if hard == UNLIMITED:
        return (soft if soft <= LARGEST else UNLIMITED), hard
    return min(soft, hard), hard


def setting(limits: dict[int, Limit], letter: str, text: str) -> None:
    """Apply one option's or variable's value to `limits`, which is filled from the process as needed.

    Raises ValueError as `changed` does, OSError when a limit cannot be read.
    """
    for name in OPTIONS[letter][0]:
        number = number_of(name)
        if number is not None:
            limits[number] = changed(text, limits[number] if number in limits else resource.getrlimit(number))


def impose(limits: dict[int, Limit]) -> dict[int, int]:
    """Set the limits; returns those of memory, of which only the hard part was set, as number → soft. Raises OSError."""
    memory: dict[int, int] = {}
    for number, (soft, hard) in limits.items():
        if number in MAPPED:
            memory[number] = soft
            if hard == resource.getrlimit(number)[1]:
                continue
            soft = hard
        _set(number, soft, hard)
    return memory


def lift(memory: dict[int, int]) -> None:
    """Take back the soft limits of memory, while modules are imported."""
    for number in memory:
        hard = resource.getrlimit(number)[1]
        _set(number, hard, hard)


def give_room(memory: dict[int, int]) -> None:
    """Limit the memory of this interpreter to the numbers plus what it has mapped now."""
    fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    try:
        pages = os.read(fd, 256).split()
    finally:
        os.close(fd)
    for number, soft in memory.items():
        hard = resource.getrlimit(number)[1]
        if soft != UNLIMITED:
            soft += sum(int(pages[field]) for field in MAPPED[number]) * resource.getpagesize()
            soft = min(soft, LARGEST if hard == UNLIMITED else hard)
        _set(number, soft, hard)


def exact(memory: dict[int, int], size: int) -> list[bytes]:
    """Set the numbers themselves, after which the process can hardly allocate any more and should exec at once.

    For that it needs copies of its arguments and environment of `size` bytes. There is room for them while what this returns
    is alive.
    """
    held = [heap.reserve(piece, 2 * size // piece + 2) for piece in PIECES]
    for number, soft in memory.items():
        _set(number, soft, resource.getrlimit(number)[1])
    return held


def exact_for(pid: int, memory: dict[int, int]) -> None:
    """Set the numbers for a child that is a foreign program; one that has ended or changed its identity is let be."""
    for number, soft in memory.items():
        try:
            resource.prlimit(pid, number, (soft, resource.getrlimit(number)[1]))
        except OSError:
            return


def _set(number: int, soft: int, hard: int) -> None:
    """setrlimit, with the OSError that the system gave where Python makes it a ValueError."""
    try:
        resource.setrlimit(number, (soft, hard))
    except ValueError:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM)) from None
