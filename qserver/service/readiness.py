"""Whether a service is up, and whether it is ready, seen from any directory (daemontools 24.3, 24.4)."""

from __future__ import annotations

import os

from qserver.service import place, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from qserver.service.status import Status

ANNOUNCEMENTS = ("notification-fd", "notification-socket")
"""A service with neither file never says that it is ready: it is as soon as it is up."""


def status_of(path: str, env: Mapping[str, str]) -> Status | None:
    """The main status of the service directory `path`; None where supervise does not run. Raises OSError.

    A status file that is too short to tell anything is an OSError without errno.
    """
    where = place.of(path, env)
    if not place.is_running(where):
        return None
    found = status.unpack(status.read(f"{where}/status")[: status.SIZE])
    if found is None:
        raise OSError("bad format")
    return found


def is_up(told: Status) -> bool:
    """A process runs, or `start` has set up all there is."""
    return told.pid != 0 or told.state == status.STARTED


def says_so(path: str) -> bool:
    """Whether the service in `path` announces its readiness."""
    return any(place.exists(os.path.join(path, name)) for name in ANNOUNCEMENTS)


def is_ready(path: str, env: Mapping[str, str]) -> bool:
    """Up, and ready as far as it says so. Not: no such service, no supervise, a status that makes no sense."""
    try:
        told = status_of(path, env)
    except OSError:
        return False
    return told is not None and is_ready_by(path, told)


def is_ready_by(path: str, told: Status) -> bool:
    """The same by a status that was read already."""
    return is_up(told) and (told.ready or told.pid == 0 or not says_so(path))
