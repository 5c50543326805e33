"""multilog's line patterns and what a sequence of them selects (daemontools 10.1, 10.3).

Each pattern that matches a line sets the line's state to its sign, so the last one that matches decides, and lines that
none matches are selected. A sequence is compiled to one expression, tested from its last pattern backwards: a log of
hundreds of megabytes a second cannot afford a call for every pattern and line. Patterns with a text that a batch of lines
nowhere has are left out for that batch.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qserver.log.batch import Batch

    Filter = Callable[[list[bytes]], list[bytes]]
    Pattern = tuple[bool, bytes, bool]
    """selects (`+`), text, in fnmatch mode"""
    Test = tuple[bool, str, bytes]
    """selects, Python's expression for "the pattern matches `line`", a text that every such line has"""

CONSIDERED = 1000
"""Bytes of a line, stamp included, that patterns and the actions `e` and `=` see."""
DEEPEST = 256
"""Patterns in one expression; the interpreter's compiler has a limit."""
MOST_FILTERS = 64
"""Combinations of patterns in force that are kept compiled."""


class Selection:
    """Which lines a sequence of patterns selects."""

    __slots__ = ("_filters", "_names", "_tests", "everything", "nothing")

    def __init__(self, patterns: tuple[Pattern, ...]) -> None:
        self._names: dict[str, object] = {}
        self._tests = _tests(patterns, self._names)
        self._filters: dict[tuple[bool, ...], _Filter] = {}
        whole = self._filter(tuple(True for _ in self._tests))
        self.everything = whole.everything
        self.nothing = whole.nothing

    def select(self, batch: Batch) -> Batch | None:
        """The selected lines of a batch; None if there are none."""
        if self.everything:
            return batch
        if self.nothing:
            return None
        data = batch.data
        chosen = self._filter(tuple([text in data for _, _, text in self._tests]))
        return chosen.select(batch)

    def _filter(self, in_force: tuple[bool, ...]) -> _Filter:
        """The filter of those patterns that can match anything."""
        found = self._filters.get(in_force)
        if found is None:
            if len(self._filters) >= MOST_FILTERS:
                self._filters.clear()
            tests = [test for test, may_match in zip(self._tests, in_force, strict=True) if may_match]
            found = self._filters[in_force] = _Filter(tests, self._names)
        return found


class _Filter:
    """A compiled sequence of tests."""

    __slots__ = ("_considered", "_whole", "everything", "nothing")

    def __init__(self, tests: list[Test], names: dict[str, object]) -> None:
        decision = _decision(tests, names)
        self.everything = decision == "True"
        self.nothing = decision == "False"
        whole = f"lambda lines: [line for line in lines if ({decision})]"
        considered = f"lambda lines: [full for full in lines for line in (full[:{CONSIDERED}],) if ({decision})]"
        self._whole: Filter = eval(whole, names)
        self._considered: Filter = eval(considered, names)

    def select(self, batch: Batch) -> Batch | None:
        """The selected lines of a batch; None if there are none."""
        if self.everything:
            return batch
        if self.nothing:
            return None
        chosen = self._whole if batch.longest <= CONSIDERED else self._considered
        lines = chosen(batch.lines)
        return batch.part(lines) if lines else None


def _tests(patterns: tuple[Pattern, ...], names: dict[str, object]) -> list[Test]:
    """The tests of a sequence of patterns from the last one on that matches every line."""
    tests: list[Test] = []
    for selects, text, fnmatch in patterns:
        test = (selects, *(_fnmatch_test(text, names) if fnmatch else star_test(text)))
        if test[1] == "True":
            tests = []
        tests.append(test)
    return tests


def _decision(tests: list[Test], names: dict[str, object]) -> str:
    """Python's expression for "`line` is selected"; what it calls is put into `names`."""
    decision = "True"
    for number, (selects, test, _) in enumerate(_cheapest_first(tests), 1):
        if number % DEEPEST == 0:
            earlier = f"earlier_{len(names)}"
            names[earlier] = eval(f"lambda line: ({decision})", names)
            decision = f"{earlier}(line)"
        if test == "True":
            decision = str(selects)
        elif decision != str(selects):
            decision = f"{selects} if {test} else {decision}"
    return decision


def _cheapest_first(tests: list[Test]) -> list[Test]:
    """The tests, those of one sign beside each other so ordered that a short expression is evaluated before a long one."""
    ordered: list[Test] = []
    for test in tests:
        at = len(ordered)
        while at and ordered[at - 1][0] == test[0] and len(ordered[at - 1][1]) < len(test[1]) and ordered[at - 1][1] != "True":
            at -= 1
        ordered.insert(at, test)
    return ordered


def star_test(text: bytes) -> tuple[str, bytes]:
    """The expression for a star pattern, and the longest text that a line must have to match."""
    start, skips, open_ended = parts_of(text)
    longest = max([start, *(byte + tail for byte, tail in skips)], key=len)
    if not skips:
        if open_ended:
            return (f"line.startswith({start!r})" if start else "True"), longest
        return f"line == {start!r}", longest
    tests, rest = [], "line"
    if start:
        tests, rest = [f"line.startswith({start!r})"], f"line[{len(start)}:]"
    for byte, tail in skips[:-1]:
        tests.append(f"(rest := {rest}.partition({byte!r})[2])" + (f".startswith({tail!r})" if tail else ""))
        rest = f"rest[{len(tail)}:]" if tail else "rest"
    byte, tail = skips[-1]
    if open_ended:
        tests.append(f"{rest}.partition({byte!r})[2][:{len(tail)}] == {tail!r}" if tail else f"{byte[0]} in {rest}")
    else:
        tests.append(f"{rest}.partition({byte!r})[1:] == {(byte, tail)!r}")
    return " and ".join(tests), longest


def parts_of(text: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bool]:
    """A star pattern in parts: how a line must start, what each star does, and whether anything may follow.

    A star goes to the first of a byte (the one after it in the pattern), and after that byte the line must go on with a
    tail; nothing is tried twice. A star before a star goes to a star, and a third one is there already.
    """
    start, *rest = text.split(b"*")
    skips: list[tuple[bytes, bytes]] = []
    for number, literal in enumerate(rest, 1):
        if literal:
            skips.append((literal[:1], literal[1:]))
        elif number < len(rest) and (number == 1 or rest[number - 2]):
            skips.append((b"*", b""))
    return start, skips, bool(rest) and not rest[-1]


def _fnmatch_test(text: bytes, names: dict[str, object]) -> tuple[str, bytes]:
    """The expression for a pattern in fnmatch mode, which alone needs the regular expressions."""
    from qserver.log.wildcards import matcher

    if text and not text.strip(b"*"):
        return "True", b""
    name = f"match_{len(names)}"
    names[name] = matcher(text)
    return f"{name}(line)", b""
