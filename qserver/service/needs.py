"""`needs`: the services that must be ready before this one starts, a name a line, as seen from svscan's directory."""

from __future__ import annotations

import os

from qserver.base.errors import warn
from qserver.service import settings
from qserver.service.readiness import is_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROG = "supervise"
MET, UNMET, CIRCLE = range(3)
FREQUENTLY, SELDOM = 0.1, 1.0
"""Seconds between two looks at services that are not ready yet: the pause grows with the time already waited."""
DEEPEST = 1000
"""Services looked at for a circle: more than this cannot run."""


class Needs:
    """What the service in the current directory waits for."""

    __slots__ = ("_base", "_env", "_looks", "_name")

    def __init__(self, name: str, base: str, env: Mapping[str, str]) -> None:
        self._name = name
        self._base = base
        """The directory that supervise was started in."""
        self._env = env
        self._looks = 0
        """How often in a row something was not ready."""

    def look(self) -> int:
        """MET, UNMET (look again after `pause`) or CIRCLE. Says what is wrong, once for every time one waits."""
        text = settings.text_of(self._name, "needs")
        names = [] if text is None else settings.lines(text)
        if all(is_ready(self._path(name), self._env) for name in names):
            self._looks = 0
            return MET
        self._looks += 1
        if self._looks == 1:
            circle = self._circle(names)
            if circle:
                warn(PROG, f"unable to start {self._name}: it needs itself: {' -> '.join(circle)}")
                self._looks = 0
                return CIRCLE
            for name in names:
                if not os.path.isdir(self._path(name)):
                    warn(PROG, f"{self._name} needs {name}, which is no service")
        return UNMET

    def pause(self) -> float:
        """Seconds until the next look."""
        return min(SELDOM, max(FREQUENTLY, FREQUENTLY * self._looks / 10))

    def _path(self, name: str) -> str:
        return os.path.join(self._base, name)

    def _circle(self, names: list[str]) -> list[str]:
        """A way from this service through what others need back to it; empty if there is none."""
        own = _identity(".")
        ways = [[self._name, name] for name in names]
        seen: set[tuple[int, int]] = set()
        while ways and len(seen) < DEEPEST:
            way = ways.pop(0)
            identity = _identity(self._path(way[-1]))
            if identity == own:
                return way
            if identity is not None and identity not in seen:
                seen.add(identity)
                ways += [[*way, further] for further in self._needed_by(way[-1])]
        return []

    def _needed_by(self, name: str) -> Iterator[str]:
        try:
            yield from settings.lines(settings.head(f"{self._path(name)}/needs"))
        except OSError:
            return


def _identity(path: str) -> tuple[int, int] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino
