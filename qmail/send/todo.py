"""From todo to info, local and remote: what turns S4 into S5 (delivery 1.3, 6.3).

Everything of an entry happens in this order, so that a crash at any instant leaves the entry whole:

    unlink what an earlier attempt left of local, remote, info; create info; create the channels' files and write them;
    fsync info, the channels' files and their directories; only then is qmail-clean asked to remove intd and todo

The recipients stream through: an envelope is never held whole.
"""

from __future__ import annotations

import os

from qmail.send import log as lines
from qmail.send.log import safe
from qmail.send.schedule import CHANNELS
from qserver.base.files import fsync_directory, write_all
from qserver.base.getopt import scan_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qmail.queue.names import Names
    from qmail.send.log import Log
    from qmail.send.rewrite import Rewriter

BLOCK = 65536
SMALL = 8192
LONGEST_RECORD = 65536
"""More than any address that the queue accepts."""
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Trouble(Exception):
    """The entry stays for the next scan; `line` is for the log."""

    def __init__(self, line: bytes, path: str) -> None:
        super().__init__(line)
        self.line = line % path.encode()


class Output:
    """A file that is being written: info, or a channel's."""

    __slots__ = ("_fd", "_fsync_line", "_held", "_path", "_size", "_write_line")

    def __init__(self, path: str, create_line: bytes, write_line: bytes, fsync_line: bytes) -> None:
        self._path = path
        self._write_line = write_line
        self._fsync_line = fsync_line
        self._held: list[bytes] = []
        self._size = 0
        try:
            self._fd = os.open(path, NEW_FILE, 0o600)
        except OSError:
            raise Trouble(create_line, path) from None

    def put(self, record: bytes) -> None:
        """Add a record. Raises Trouble."""
        self._held.append(record)
        self._size += len(record)
        if self._size >= BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write what is held. Raises Trouble."""
        try:
            write_all(self._fd, b"".join(self._held))
        except OSError:
            raise Trouble(self._write_line, self._path) from None
        self._held = []
        self._size = 0

    def sync(self) -> None:
        """Make the file durable, and its name. Raises Trouble."""
        try:
            os.fsync(self._fd)
            fsync_directory(os.path.dirname(self._path))
        except OSError:
            raise Trouble(self._fsync_line, self._path) from None

    def close(self) -> None:
        """Close the file, whatever happened."""
        os.close(self._fd)


class Preprocessor:
    """Works on one entry after another; keeps nothing between them. The current directory is the queue."""

    __slots__ = ("_log", "_names")

    def __init__(self, names: Names, log: Log) -> None:
        self._names = names
        self._log = log

    def is_small(self, number: int) -> bool:
        """Whether an entry is so small that writing its files costs less than handing it to another thread."""
        try:
            return os.stat(self._names.todo(number)).st_size <= SMALL
        except OSError:
            return True

    def prepare(self, number: int, rewriter: Rewriter) -> list[int] | None:
        """Do everything up to the last fsync; returns the channels that have recipients, None if the entry must stay."""
        entry = self.begin(number, rewriter)
        return None if entry is None else self.finish(entry)

    def begin(self, number: int, rewriter: Rewriter) -> Entry | None:
        """Write the entry's files; `finish` must follow. None if the entry must stay."""
        entry = Entry(number, self._names, self._log, rewriter)
        try:
            entry.write()
        except Trouble as trouble:
            self._log(trouble.line)
            entry.close()
            return None
        return entry

    def finish(self, entry: Entry) -> list[int] | None:
        """Make the files durable, which waits for the disk; returns as `prepare` does."""
        try:
            entry.sync()
        except Trouble as trouble:
            self._log(trouble.line)
            return None
        finally:
            entry.close()
        return [channel for channel in CHANNELS if channel in entry.channels]


class Entry:
    """One message on its way from S4 to S5."""

    __slots__ = (
        "_fd", "_has_sender", "_info", "_log", "_names", "_number", "_pid", "_rewriter", "_size", "_stale", "_uid", "channels",
    )  # fmt: skip

    def __init__(self, number: int, names: Names, log: Log, rewriter: Rewriter) -> None:
        self._number = number
        self._names = names
        self._log = log
        self._rewriter = rewriter
        self._fd = -1
        self._has_sender = False
        self._stale: list[str] = []
        self._info: Output | None = None
        self._size = self._uid = self._pid = 0
        self.channels: dict[int, Output] = {}

    def write(self) -> None:
        """Everything but the fsyncs. Raises Trouble."""
        names, number = self._names, self._number
        todo = names.todo(number)
        try:
            self._fd = os.open(todo, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise Trouble(lines.UNABLE_TO_OPEN, todo) from None
        try:
            self._size = os.stat(names.mess(number)).st_size
        except OSError:
            raise Trouble(lines.STAT, names.mess(number)) from None
        for path, line in (
            (names.local(number), lines.UNLINK),
            (names.remote(number), lines.UNLINK),
            (names.info(number), lines.UNLINK_INFO),
        ):
            self._remove_stale(path, line)
        self._info = Output(names.info(number), lines.CREATE_INFO, lines.WRITING_INFO, lines.FSYNC_INFO)
        self._log(lines.NEW_MESSAGE % number)
        self._copy_records(todo)
        for output in (self._info, *self.channels.values()):
            output.flush()

    def sync(self) -> None:
        """The fsyncs. Raises Trouble."""
        for output in (self._info, *self.channels.values()):
            if output is not None:
                output.sync()
        self._sync_removals()

    def _remove_stale(self, path: str, line: bytes) -> None:
        """Unlink what an earlier attempt left. Raises Trouble."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        except OSError:
            raise Trouble(line, path) from None
        self._stale.append(path)

    def _sync_removals(self) -> None:
        """The power must not bring back a channel's file that this attempt did not make again. Raises Trouble."""
        for path in self._stale:
            try:
                fsync_directory(os.path.dirname(path))
            except OSError:
                raise Trouble(lines.FSYNC_CHANNEL, path) from None

    def close(self) -> None:
        """Close what is open."""
        if self._fd >= 0:
            os.close(self._fd)
        if self._info is not None:
            self._info.close()
        for output in self.channels.values():
            output.close()

    def _copy_records(self, path: str) -> None:
        """The whole envelope, record by record; like getln, what no NUL ends is no record."""
        rest = b""
        while True:
            try:
                block = os.read(self._fd, BLOCK)
            except OSError:
                raise Trouble(lines.READING_TODO, path) from None
            if not block:
                break
            *records, rest = (rest + block).split(b"\0")
            for record in records:
                self._take(record, path)
            if len(rest) > LONGEST_RECORD:
                raise Trouble(lines.UNKNOWN_TODO_RECORD, path)
        if not self._has_sender:
            raise Trouble(lines.UNKNOWN_TODO_RECORD, path)

    def _take(self, record: bytes, path: str) -> None:
        letter, value = record[:1], record[1:]
        if letter == b"T":
            channel, address = self._rewriter.rewrite(value)
            self._output(channel).put(b"T%b\0" % address)
        elif letter == b"u":
            self._uid = scan_number(value)
        elif letter == b"p":
            self._pid = scan_number(value)
        elif letter == b"F" and self._info is not None:
            self._has_sender = True
            self._info.put(record + b"\0")
            self._log(lines.INFO_MESSAGE % (self._number, self._size, safe(value), self._pid, self._uid))
        else:
            raise Trouble(lines.UNKNOWN_TODO_RECORD, path)

    def _output(self, channel: int) -> Output:
        """The file of a channel, made for its first recipient."""
        output = self.channels.get(channel)
        if output is None:
            path = (self._names.local if channel == 0 else self._names.remote)(self._number)
            output = Output(path, lines.CREATE_CHANNEL, lines.WRITING_CHANNEL, lines.FSYNC_CHANNEL)
            self.channels[channel] = output
        return output
