"""multilog's line patterns and what a sequence of them selects (daemontools 10.1, 10.3).

Each pattern that matches a line sets the line's state to its sign, so the last one that matches decides, and lines that
none matches are selected. A sequence is compiled to one expression, tested from its last pattern backwards: a log of
hundreds of megabytes a second cannot afford a call for every pattern and line.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Filter = Callable[[list[bytes]], list[bytes]]
    Pattern = tuple[bool, bytes, bool]
    """selects (`+`), text, in fnmatch mode"""

CONSIDERED = 1000
"""Bytes of a line, stamp included, that patterns and the actions `e` and `=` see."""
DEEPEST = 256
"""Patterns in one expression; the interpreter's compiler has a limit."""

SHAPES: dict[tuple[str, ...], str] = {
    ("rest",): "True",
    ("end",): "not line",
    ("is", "end"): "line == {0!r}",
    ("is", "rest"): "line.startswith({0!r})",
    ("skip", "is", "end"): "line[line.find({0!r}):] == {1!r}",
    ("skip", "is", "rest"): "line.startswith({1!r}, line.find({0!r}))",
}
"""The usual kinds of patterns, each with a test of its own. `find` may answer -1: the last byte is not what was looked for."""


class Selection:
    """Which lines a sequence of patterns selects."""

    __slots__ = ("_filters", "everything", "nothing")

    def __init__(self, patterns: tuple[Pattern, ...]) -> None:
        names: dict[str, object] = {}
        test = _decision(patterns, names)
        self.everything = test == "True"
        self.nothing = test == "False"
        whole = f"lambda lines: [line for line in lines if ({test})]"
        start = f"lambda lines: [full for full in lines for line in (full[:{CONSIDERED}],) if ({test})]"
        self._filters: tuple[Filter, Filter] = (eval(whole, names), eval(start, names))

    def select(self, lines: list[bytes], longest: int) -> list[bytes]:
        """The selected ones of some lines (without newlines), the longest of which has `longest` bytes."""
        return self._filters[longest > CONSIDERED](lines)


def _decision(patterns: tuple[Pattern, ...], names: dict[str, object]) -> str:
    """Python's expression for "`line` is selected"; what it calls is put into `names`."""
    decision = "True"
    for number, (selects, text, fnmatch) in enumerate(patterns, 1):
        if number % DEEPEST == 0:
            earlier = f"earlier_{number}"
            names[earlier] = eval(f"lambda line: ({decision})", names)
            decision = f"{earlier}(line)"
        test = _fnmatch_test(text, names) if fnmatch else _test(text)
        decision = str(selects) if test == "True" else f"{selects} if {test} else {decision}"
    return decision


def _test(text: bytes) -> str:
    """The expression for a star pattern."""
    steps = steps_of(text)
    shape = SHAPES.get(tuple(kind for kind, _ in steps))
    if shape is not None:
        return shape.format(*(what for _, what in steps))
    tests = []
    at = "0"
    for kind, what in steps:
        if kind == "is":
            tests.append(f"line.startswith({what!r}, {at})")
            at = f"{at} + {len(what)}"
        elif kind == "skip":
            tests.append(f"(at := line.find({what!r}, {at})) >= 0")
            at = "at"
        elif kind == "end":
            tests.append(f"len(line) == {at}")
    return " and ".join(tests)


def steps_of(text: bytes) -> list[tuple[str, bytes]]:
    """A star pattern as steps that never go back.

    `is`: these bytes are next; `skip`: go to the next such byte, which is the one after the star (after `**`, a star);
    last, `rest`: anything may follow, or `end`: nothing may.
    """
    steps: list[tuple[str, bytes]] = []
    for number, literal in enumerate(text.split(b"*")):
        if number > 1 and steps[-1][0] == "star":
            steps[-1] = ("skip", b"*")
        if number > 0:
            steps.append(("skip", literal[:1]) if literal else ("star", b""))
        if literal:
            steps.append(("is", literal))
    if steps and steps[-1][0] == "star":
        steps[-1] = ("rest", b"")
    else:
        steps.append(("end", b""))
    return steps


def _fnmatch_test(text: bytes, names: dict[str, object]) -> str:
    """The expression for a pattern in fnmatch mode, which alone needs the regular expressions."""
    from qserver.log.wildcards import matcher

    if text.strip(b"*") == b"" and text:
        return "True"
    name = f"match_{len(names)}"
    names[name] = matcher(text)
    return f"{name}(line)"
