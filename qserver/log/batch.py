"""Complete lines that came together: one piece of bytes, taken apart only when somebody asks."""

from __future__ import annotations


class Batch:
    """At least one line, made either of `data`, which ends with a newline, or of `lines` without newlines."""

    __slots__ = ("_data", "_lines", "_longest")

    def __init__(self, data: bytes | None, lines: list[bytes] | None = None, longest: int = -1) -> None:
        self._data = data
        self._lines = lines
        self._longest = longest

    @property
    def data(self) -> bytes:
        """All of it, with newlines."""
        if self._data is None:
            self._data = b"\n".join(self._lines or []) + b"\n"
        return self._data

    @property
    def lines(self) -> list[bytes]:
        """The lines, without newlines."""
        if self._lines is None:
            self._lines = self.data[:-1].split(b"\n")
        return self._lines

    @property
    def longest(self) -> int:
        """No line is longer than so many bytes."""
        if self._longest < 0:
            self._longest = max(map(len, self.lines))
        return self._longest

    @property
    def last(self) -> bytes:
        """The last line, without its newline."""
        if self._lines is not None:
            return self._lines[-1]
        data = self.data
        return data[data.rfind(b"\n", 0, len(data) - 1) + 1 : -1]

    def part(self, lines: list[bytes]) -> Batch:
        """A batch of some of the lines."""
        return Batch(None, lines, self._longest)
