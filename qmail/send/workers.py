"""Threads for what in qmail-send waits for the disk, the fsyncs of preprocessing, and for the writing of large envelopes.

They share nothing with the loop but two queues, and end with the process, so that after kill -9 nobody works on an entry
that the next qmail-send takes up. Several fsyncs at once become one commit of the file system.
"""

from __future__ import annotations

import os
from _queue import Empty, SimpleQueue
from _thread import start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qmail.send.rewrite import Rewriter
    from qmail.send.todo import Entry, Preprocessor

    Result = tuple[int, list[int] | None]

THREADS = 4


class Workers:
    """Entries in, results out; poll `fileno` for results."""

    __slots__ = ("_orders", "_preprocessor", "_read", "_results", "_write")

    def __init__(self, preprocessor: Preprocessor) -> None:
        self._preprocessor = preprocessor
        self._orders: SimpleQueue[tuple[int, Callable[[], list[int] | None]]] = SimpleQueue()
        self._results: SimpleQueue[Result | BaseException] = SimpleQueue()
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for _ in range(THREADS):
            start_new_thread(self._work, ())

    def fileno(self) -> int:
        """Readable when there are results."""
        return self._read

    def prepare(self, number: int, rewriter: Rewriter) -> None:
        """Preprocess an entry with the rewriting rules as they are now."""
        self._orders.put((number, lambda: self._preprocessor.prepare(number, rewriter)))

    def finish(self, number: int, entry: Entry) -> None:
        """Make an entry durable whose files are written."""
        self._orders.put((number, lambda: self._preprocessor.finish(entry)))

    def results(self) -> list[Result]:
        """What is finished: (number, its channels, or None when the entry must stay). Raises what a thread raised."""
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            pass
        finished: list[Result] = []
        while True:
            try:
                result = self._results.get_nowait()
            except Empty:
                return finished
            if isinstance(result, BaseException):
                raise result
            finished.append(result)

    def _work(self) -> None:
        """A thread's life."""
        while True:
            number, work = self._orders.get()
            try:
                result: Result | BaseException = (number, work())
            except Exception as error:  # noqa: BLE001 - raised again in the loop, which ends the process
                result = error
            self._results.put(result)
            try:
                os.write(self._write, b"\0")
            except BlockingIOError:
                continue
