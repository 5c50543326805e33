"""The actions `=FILE`, the newest line in a file of its own, and `e`, lines to standard error (daemontools 10.1)."""

from __future__ import annotations

import errno
import os

from qserver.base.errors import fatal
from qserver.base.files import LOCK_OPEN
from qserver.log.patterns import CONSIDERED
from qserver.log.trouble import insist, pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.log.batch import Batch
    from qserver.log.patterns import Selection

SIZE = CONSIDERED + 1
"""Bytes of a status file: the line, then newlines."""
WORTH_SAYING = 200
"""Bytes of a line that go to standard error."""
PIPE_BUF = 4096
"""Bytes that go into a pipe in one piece, so that lines of several writers do not mix."""


class StatusFile:
    """A file that always holds the newest selected line."""

    __slots__ = ("_fd", "_name")

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._fd = -1

    def open(self) -> None:
        """Make the file if it is missing and open it. Raises Die."""
        doing = "create"
        try:
            os.close(os.open(self._name, LOCK_OPEN | os.O_CLOEXEC, 0o600))
            doing = "write"
            self._fd = os.open(self._name, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise fatal("multilog", f"unable to {doing} {os.fsdecode(self._name)}", error) from None

    def put(self, batch: Batch) -> None:
        """Take lines that were selected, of which the last counts."""
        content = batch.last[:CONSIDERED].ljust(SIZE, b"\n")
        while True:
            insist(b"unable to move to beginning of " + self._name, os.lseek, self._fd, 0, os.SEEK_SET)
            try:
                if os.write(self._fd, content) == SIZE:
                    return
                trouble = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                trouble = error
            pause(b"unable to write " + self._name, trouble)


class StandardError:
    """Lines on descriptor 2; what it does not take is not written."""

    __slots__ = ()

    def put(self, batch: Batch) -> None:
        """Say lines that were selected."""
        lines = batch.lines
        said = [(line if len(line) <= WORTH_SAYING else line[:WORTH_SAYING] + b"...") + b"\n" for line in lines]
        together: list[bytes] = []
        size = 0
        for line in said:
            if size + len(line) > PIPE_BUF:
                _say(b"".join(together))
                together, size = [], 0
            together.append(line)
            size += len(line)
        _say(b"".join(together))


class Interleaved:
    """Several `e` of one script, each with its selection: they take turns line by line."""

    __slots__ = ("_error", "_selections")

    def __init__(self, selections: list[Selection]) -> None:
        self._selections = selections
        self._error = StandardError()

    def put(self, batch: Batch) -> None:
        """Say each line as often as it was selected."""
        single = [batch.part([line]) for line in batch.lines]
        said = [line.last for line in single for selection in self._selections if selection.select(line) is not None]
        if said:
            self._error.put(batch.part(said))


def _say(data: bytes) -> None:
    try:
        while data:
            data = data[os.write(2, data) :]
    except OSError:
        return
