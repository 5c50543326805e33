"""Making the entry of a new file durable, for directories that belong to the users."""

from __future__ import annotations

import errno
import os

UNABLE = (errno.EACCES, errno.EINVAL)
"""Some file systems sync no directories, and a directory one may write but not read cannot be opened: as safe as can be."""


def sync_directory(path: str | bytes, dir_fd: int | None = None) -> None:
    """fsync a directory, relative to `dir_fd`. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    except PermissionError:
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in UNABLE:
            raise
    finally:
        os.close(fd)
