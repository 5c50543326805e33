"""multilog's script: its words, and the compiled form that runs (daemontools 10.1).

Patterns work on a state that every line starts anew, so what an action sees of it depends on the patterns before it alone:
each action of the compiled script carries its own `Selection`.
"""

from __future__ import annotations

import os

from qserver.base.getopt import scan_number
from qserver.log.patterns import Selection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from qserver.log.patterns import Pattern

DEFAULT_SIZE = 99999
SMALLEST, LARGEST = 4096, 2147483647
DEFAULT_NUMBER = 10
LEAST_NUMBER = 2
FINISHED = b".s"
STAMPS = ("t", "T", "d")
"""First letters of a first word that ask for a stamp."""
LONGEST_NUMBER = 20
"""Digits after which a number is beyond every bound."""


class Settings:
    """What `s`, `n`, `!` and `w` say of the directories that follow."""

    __slots__ = ("finished", "number", "processor", "size")

    def __init__(
        self,
        size: int = DEFAULT_SIZE,
        number: int = DEFAULT_NUMBER,
        processor: bytes | None = None,
        finished: bytes = FINISHED,
    ) -> None:
        self.size = size
        """Bytes that a file may have."""
        self.number = number
        """Files that are kept, `current` among them."""
        self.processor = processor
        """Shell command that full files go through."""
        self.finished = finished
        """Suffix of finished files."""


class Action:
    """Something done with selected lines: `kind` e, = or / (a log directory), `path` of the file or directory."""

    __slots__ = ("kind", "path", "selection", "settings")

    def __init__(self, kind: str, path: bytes, selection: Selection, settings: Settings) -> None:
        self.kind = kind
        self.path = path
        self.selection = selection
        self.settings = settings


class Script:
    """A compiled script: the kind of stamp (t, T, d or none) and the actions in their order."""

    __slots__ = ("actions", "stamp")

    def __init__(self, stamp: str, actions: list[Action]) -> None:
        self.stamp = stamp
        self.actions = actions


def parse(words: Sequence[str]) -> Script:
    """Compile the arguments of multilog. There is no wrong script: a word of unknown meaning is ignored."""
    stamp = words[0][:1] if words and words[0][:1] in STAMPS else ""
    actions: list[Action] = []
    patterns: tuple[Pattern, ...] = ()
    selections: dict[tuple[Pattern, ...], Selection] = {}
    settings = Settings()
    fnmatch = False
    for word in map(os.fsencode, words):
        kind, rest = word[:1], word[1:]
        if kind in (b"+", b"-"):
            patterns = (*patterns, (kind == b"+", rest, fnmatch))
        elif kind in (b"F", b"S"):
            fnmatch = kind == b"F"
        elif kind and kind in b"e=./":
            if patterns not in selections:
                selections[patterns] = Selection(patterns)
            path = rest if kind == b"=" else word
            actions.append(Action("/" if kind in b"./" else kind.decode(), path, selections[patterns], settings))
        else:
            settings = _changed(settings, kind, rest)
    return Script(stamp, actions)


def _changed(old: Settings, kind: bytes, rest: bytes) -> Settings:
    """The settings after a word that may be about directories."""
    if kind == b"s":
        return Settings(min(max(_number(rest), SMALLEST), LARGEST), old.number, old.processor, old.finished)
    if kind == b"n":
        return Settings(old.size, max(_number(rest), LEAST_NUMBER), old.processor, old.finished)
    if kind == b"!":
        return Settings(old.size, old.number, rest, old.finished)
    if kind == b"w":
        return Settings(old.size, old.number, old.processor, b"." + rest)
    return old


def _number(text: bytes) -> int:
    return scan_number(text.lstrip(b"0")[:LONGEST_NUMBER])
