"""The states of a message as data (delivery 1.3, INTERNALS of qmail), and a checker for a queue that crashed.

A message is what its files say: + present, - absent, ? either.
"""

from __future__ import annotations

import os

from qmail.queue.names import Names, numbers

KINDS = ("mess", "intd", "todo", "info", "local", "remote", "bounce")
LEGAL: dict[str, str] = {
    #     mess intd todo info local remote bounce
    "S1": "-------",
    "S2": "+------",
    "S3": "++-----",
    "S4": "+?+???-",
    "S5": "+--+???",
}
"""What each state's files are, in the order of KINDS; everything else is the rest of a crash."""


def state_of(present: dict[str, bool]) -> str | None:
    """The name of the legal state of these files, or None. `present` maps each of KINDS."""
    for name, pattern in LEGAL.items():
        if all(sign == "?" or (sign == "+") == present[kind] for sign, kind in zip(pattern, KINDS, strict=True)):
            return name
    return None


class Oddity:
    """Something a checker found."""

    __slots__ = ("path", "what")

    def __init__(self, path: str, what: str) -> None:
        self.path = path
        self.what = what

    def __repr__(self) -> str:
        return f"{self.path}: {self.what}"


def survey(queue: str, split: int) -> tuple[dict[int, str | None], list[Oddity]]:
    """(state of every message, what is wrong with names and inodes) of a queue that nobody is changing."""
    names = Names(split)
    seen: set[int] = set()
    oddities: list[Oddity] = []
    for kind in KINDS:
        for directory in [kind] if kind == "bounce" else [f"{kind}/{n}" for n in range(split)]:
            for number in numbers(f"{queue}/{directory}"):
                seen.add(number)
                path = f"{directory}/{number}"
                if path != names.path(kind, number):
                    oddities.append(Oddity(path, "in the wrong directory"))
                elif kind == "mess" and os.stat(f"{queue}/{path}").st_ino != number:
                    oddities.append(Oddity(path, "is not named by its inode"))
    states = {}
    for number in seen:
        present = {kind: os.path.exists(f"{queue}/{names.path(kind, number)}") for kind in KINDS}
        states[number] = state_of(present)
    return states, oddities
