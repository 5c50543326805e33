"""The delivering side of qmail-send: agendas, jobs, passes, what reports mean (delivery 6.4, 6.5)."""

from __future__ import annotations

import os

from qmail.send import bounce
from qmail.send import log as lines
from qmail.send.channel import Channel, Delivery, LostSpawner
from qmail.send.job import Job, Pass, UnknownRecord, mark_done, read_info
from qmail.send.log import safe
from qmail.send.rewrite import envelope_sender
from qmail.send.schedule import CHANNEL_NAMES, CHANNELS, SYSTEM_FAILURE, Agenda, is_dying, next_retry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qmail.queue.names import Names
    from qmail.send.log import Log
    from qmail.send.settings import Settings

RECORDS_PER_TURN = 500
"""Recipients looked at before the loop turns to other work."""


class Dispatcher:
    """Starts deliveries as slots come free and acts on their reports. The current directory is the queue."""

    __slots__ = (
        "_deliveries", "_jobs", "_log", "_most_jobs", "_names", "_on_done", "_passes", "_settings", "agendas", "channels",
    )  # fmt: skip

    def __init__(
        self,
        names: Names,
        settings: Settings,
        channels: list[Channel],
        log: Log,
        on_done: Callable[[int], None],
    ) -> None:
        """`on_done` is told the number of each message whose last channel file is gone."""
        self._names = names
        self._settings = settings
        self._log = log
        self._on_done = on_done
        self._passes: list[Pass | None] = [None for _ in CHANNELS]
        self._jobs = 0
        self._most_jobs = sum(channel.limit for channel in channels)
        self._deliveries = 0
        self.channels = channels
        self.agendas = [Agenda() for _ in CHANNELS]

    def status(self, exiting: bool) -> bytes:
        """The status line."""
        here, there = self.channels
        line = lines.STATUS % (len(here.running), here.limit, len(there.running), there.limit)
        return line + lines.EXIT_AS_SOON_AS_POSSIBLE if exiting else line

    def idle(self) -> bool:
        """Whether no delivery is outstanding; those of a lost spawner will never be reported."""
        return not any(channel.alive and channel.running for channel in self.channels)

    def wake_time(self, now: int) -> int | None:
        """When something can be started next; None when only a report can change that."""
        times: list[int] = []
        for number in CHANNELS:
            due = now if self._passes[number] is not None else self._next_due(number)
            if due is not None and self.channels[number].has_room():
                times.append(due)
        return min(times, default=None)

    def _next_due(self, channel: int) -> int | None:
        return self.agendas[channel].earliest() if self._jobs < self._most_jobs else None

    def start_due(self, now: int) -> None:
        """Start what is due and has room, so much as one turn of the loop allows."""
        for number in CHANNELS:
            for _ in range(RECORDS_PER_TURN):
                if not self.channels[number].has_room() or not self._step(number, now):
                    break

    def _step(self, channel: int, now: int) -> bool:
        """One record of the channel's pass, opening the next due message if there is none; False: nothing to do."""
        if self._passes[channel] is None and not self._open(channel, now):
            return False
        going = self._passes[channel]
        if going is None:
            return True
        try:
            record = going.next()
        except OSError:
            self._log(lines.READING_LATER % going.job.path.encode())
        except UnknownRecord:
            self._log(lines.UNKNOWN_RECORD % going.job.path.encode())
        else:
            if record is not None:
                self._start(going.job, *record)
                return True
            going.job.at_end = True
        going.close()
        self._passes[channel] = None
        self._release(going.job, now)
        return True

    def _open(self, channel: int, now: int) -> bool:
        """Begin the pass of the message longest due; False when none is due or there are too many jobs."""
        number = self.agendas[channel].take(now) if self._jobs < self._most_jobs else None
        if number is None:
            return False
        path = self._names.path(CHANNEL_NAMES[channel], number)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                sender, birth = read_info(self._names, number)
            except BaseException:
                os.close(fd)
                raise
        except (OSError, ValueError):
            self._log(lines.OPENING_LATER % path.encode())
            self.agendas[channel].add(number, now + SYSTEM_FAILURE)
            return True
        retry = next_retry(birth, now, channel)
        job = Job(number, channel, path, sender, retry, is_dying(birth, now, self._settings.lifetime))
        self._jobs += 1
        self._passes[channel] = Pass(fd, job)
        return True

    def _start(self, job: Job, offset: int, recipient: bytes) -> None:
        job.references += 1
        job.todo += 1
        self._deliveries += 1
        message = self._names.mess(job.number).partition("/")[2]
        delivery = Delivery(self._deliveries, job, offset, recipient)
        self.channels[job.channel].start(delivery, message, envelope_sender(job.sender, recipient))
        to = CHANNEL_NAMES[job.channel].encode()
        self._log(lines.STARTING % (delivery.number, job.number, to, safe(recipient)))
        self._log(self.status(exiting=False))

    def read_reports(self, channel: int, now: int, exiting: bool) -> bool:
        """Act on the reports that have come; False when the spawner is gone."""
        try:
            reports = self.channels[channel].read()
        except LostSpawner:
            self.channels[channel].alive = False
            self._log(lines.LOST_SPAWNER)
            return False
        for slot, report in reports:
            delivery = self.channels[channel].finish(slot)
            if delivery is None:
                self._log(lines.OUT_OF_RANGE)
                continue
            self._report(delivery, report[:1], report[1:])
            self._release(delivery.job, now)
            self._log(self.status(exiting))
        return True

    def _report(self, delivery: Delivery, letter: bytes, text: bytes) -> None:
        """What one report means for its recipient. The mark comes last: a crash before it repeats the delivery."""
        if letter == b"Z" and delivery.job.dying:
            letter, text = b"D", text + bounce.LIFETIME_OVER
        if letter == b"K":
            self._log(lines.SUCCESS % (delivery.number, safe(text)))
            self._mark_done(delivery)
        elif letter == b"Z":
            self._log(lines.DEFERRAL % (delivery.number, safe(text)))
        elif letter == b"D":
            self._log(lines.FAILURE % (delivery.number, safe(text)))
            recipient = self._settings.rewriter.without_prefix(delivery.recipient)
            bounce.append(self._names.bounce(delivery.job.number), bounce.paragraph(recipient, text), self._log)
            self._mark_done(delivery)
        else:
            self._log(lines.MANGLED % delivery.number)

    def _mark_done(self, delivery: Delivery) -> None:
        delivery.job.todo -= 1
        try:
            mark_done(delivery.job.path, delivery.offset)
        except OSError:
            self._log(lines.NOT_MARKED % delivery.job.path.encode())

    def _release(self, job: Job, now: int) -> None:
        """One reference less; the last one ends the job."""
        job.references -= 1
        if job.references:
            return
        self._jobs -= 1
        due = job.retry
        if job.at_end and not job.todo:
            try:
                os.unlink(job.path)
            except OSError:
                self._log(lines.UNLINK_LATER % job.path.encode())
                due = now + SYSTEM_FAILURE
            else:
                self._end_of_channel(job)
                return
        self.agendas[job.channel].add(job.number, due)

    def _end_of_channel(self, job: Job) -> None:
        """The channel's file is gone: so is the message's last one, unless the other channel still has its file."""
        other = self._names.path(CHANNEL_NAMES[1 - job.channel], job.number)
        try:
            os.stat(other)
        except FileNotFoundError:
            self._on_done(job.number)
        except OSError:
            self._log(lines.STAT % other.encode())
            self._on_done(job.number)

    def make_all_due(self, now: int) -> None:
        """ALRM."""
        for agenda in self.agendas:
            agenda.all_due(now)

    def limit(self, wanted: list[int], most: list[int]) -> None:
        """HUP: concurrency as the controls have it now, at most what was given at the start."""
        for channel, number, ceiling in zip(self.channels, wanted, most, strict=True):
            channel.limit = min(number, ceiling)

    def write_back(self) -> None:
        """The end: each channel file's mtime tells the next qmail-send when it is due."""
        for channel, agenda in zip(CHANNEL_NAMES, self.agendas, strict=True):
            for due, number in agenda:
                path = self._names.path(channel, number)
                try:
                    os.utime(path, (due, due))
                except OSError:
                    self._log(lines.UTIME % path.encode())
