"""Exit codes, djb's error texts and the grammar of fatal messages.

Everything a command says goes to descriptor 2, one write per line: `PROG: fatal: DOING[: ERRTEXT]`.
"""

from __future__ import annotations

import errno
import os

PERMANENT = 100
"""Exit code: the caller is wrong; trying again will not help."""
TEMPORARY = 111
"""Exit code: the system is in the way; try again later."""

ERROR_TEXTS: dict[int, str] = {
    errno.E2BIG: "argument list too long",
    errno.EACCES: "access denied",
    errno.EADDRINUSE: "address already used",
    errno.EADDRNOTAVAIL: "address not available",
    errno.EAGAIN: "temporary failure",
    errno.EBADF: "file descriptor not open",
    errno.EBUSY: "device busy",
    errno.ECHILD: "no child processes",
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EDQUOT: "disk quota exceeded",
    errno.EEXIST: "file already exists",
    errno.EFBIG: "file too big",
    errno.EHOSTUNREACH: "host unreachable",
    errno.EINTR: "interrupted system call",
    errno.EINVAL: "invalid argument",
    errno.EIO: "input/output error",
    errno.EISDIR: "is a directory",
    errno.ELOOP: "symbolic link loop",
    errno.EMFILE: "process cannot open more files",
    errno.EMLINK: "too many links",
    errno.ENAMETOOLONG: "file name too long",
    errno.ENETUNREACH: "network unreachable",
    errno.ENFILE: "system cannot open more files",
    errno.ENOENT: "file does not exist",
    errno.ENOEXEC: "exec format error",
    errno.ENOLCK: "no locks available",
    errno.ENOMEM: "out of memory",
    errno.ENOSPC: "out of disk space",
    errno.ENOTDIR: "not a directory",
    errno.ENOTEMPTY: "directory not empty",
    errno.ENXIO: "device not configured",
    errno.EPERM: "permission denied",
    errno.EPIPE: "broken pipe",
    errno.EPROTO: "protocol error",
    errno.EROFS: "read-only file system",
    errno.ESPIPE: "unseekable descriptor",
    errno.ETIMEDOUT: "timed out",
    errno.ETXTBSY: "text busy",
    errno.EXDEV: "cross-device link",
}
"""djb's texts: the union of the tables of daemontools 1.2, ucspi 1.2 and delivery 0.1."""

TEMPORARY_ERRORS = frozenset(
    (
        errno.EINTR, errno.ENOMEM, errno.ETXTBSY, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN, errno.EDEADLK,
        errno.EBUSY, errno.ENFILE, errno.EMFILE, errno.EFBIG, errno.ENOSPC, errno.ENETDOWN, errno.ENETUNREACH,
        errno.ENETRESET, errno.ECONNABORTED, errno.ECONNRESET, errno.ENOBUFS, errno.ETOOMANYREFS, errno.ECONNREFUSED,
        errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EUSERS, errno.EDQUOT, errno.ESTALE, errno.ENOLCK,
    )
)  # fmt: skip
"""Errors that go away by themselves (error_temp.c, delivery 0.1)."""


class Die(Exception):
    """A command's last words: `text` for descriptor 2 (no final newline; may be empty), then exit `code`."""

    def __init__(self, text: str, code: int = TEMPORARY) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


def error_text(error: OSError | int, *, unknown: str | None = None) -> str:
    """djb's text of an errno or OSError; for one not in the table `unknown`, else the system's in lower case."""
    number = error if isinstance(error, int) else error.errno
    if number is None:  # an OSError raised by ourselves, such as a bad cdb
        return str(error)
    text = ERROR_TEXTS.get(number)
    if text is None:
        text = os.strerror(number).lower() if unknown is None else unknown
    return text


def is_temporary(error: OSError | int) -> bool:
    """Whether trying again later may help."""
    return (error if isinstance(error, int) else error.errno) in TEMPORARY_ERRORS


def describe(prog: str, kind: str, doing: str, error: OSError | int | None, unknown: str | None) -> str:
    """`PROG: KIND: DOING[: ERRTEXT]`."""
    tail = "" if error is None else ": " + error_text(error, unknown=unknown)
    return f"{prog}: {kind}: {doing}{tail}"


def fatal(
    prog: str,
    doing: str,
    error: OSError | int | None = None,
    code: int = TEMPORARY,
    *,
    unknown: str | None = "unknown error",
) -> Die:
    """The exception that ends `prog` with `PROG: fatal: DOING[: ERRTEXT]` (daemontools 1.2); to be raised."""
    return Die(describe(prog, "fatal", doing, error, unknown), code)


def usage(prog: str, synopsis: str, code: int = PERMANENT) -> Die:
    """The exception for a wrong call: `PROG: usage: SYNOPSIS`; to be raised."""
    return Die(f"{prog}: usage: {synopsis}", code)


def say(text: str | bytes, fd: int = 2) -> None:
    """One write of `text` and a newline; a descriptor that cannot take it is ignored, as strerr does."""
    data = text if isinstance(text, bytes) else os.fsencode(text)
    try:
        os.write(fd, data + b"\n")
    except OSError:
        return


def warn(prog: str, doing: str, error: OSError | int | None = None, *, unknown: str | None = "unknown error") -> None:
    """Say `PROG: warning: DOING[: ERRTEXT]`."""
    say(describe(prog, "warning", doing, error, unknown))
