"""qmail-send on real pipes, with the test in the place of the spawners; and the whole stack of qmail-start."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from qmail.queue.names import Names, split_of
from qmail.queue.states import survey
from qserver.base import chain
from qserver.base.cdb import write_cdb
from tests.support import environment, ours, wait_for

MESSAGE = b"Subject: test\n\nbody\n"


class Order(NamedTuple):
    """A command that qmail-send gave to a spawner."""

    slot: int
    message: bytes
    sender: bytes
    recipient: bytes


def post(home: Path, sender: bytes, recipients: list[bytes], message: bytes = MESSAGE) -> None:
    """Put a message into the queue with the command qmail-queue."""
    read, write = os.pipe()
    with subprocess.Popen(
        [ours("qmail-queue")], stdin=subprocess.PIPE, stdout=read, env=environment(QMAILHOME=str(home))
    ) as process:
        os.close(read)
        assert process.stdin is not None
        process.stdin.write(message)
        process.stdin.close()
        with os.fdopen(write, "wb") as envelope:
            envelope.write(b"F%b\0%b\0" % (sender, b"".join(b"T%b\0" % recipient for recipient in recipients)))
        assert process.wait(20) == 0


def inject(home: Path, sender: bytes, recipients: list[bytes], message: bytes = MESSAGE) -> int:
    """The same, and its number; for messages that do not leave the queue by themselves."""
    before = set(message_numbers(home))
    post(home, sender, recipients, message)
    (number,) = set(message_numbers(home)) - before
    return number


def message_numbers(home: Path) -> list[int]:
    """The messages in the queue."""
    return [int(path.name) for path in (home / "queue" / "mess").glob("*/*")]


def waiting(home: Path) -> dict[int, str | None]:
    """The messages that qmail-send still has work with, and their states; a lone mess file is left to the 36-hour clean-up."""
    queue = f"{home}/queue"
    try:
        states, _ = survey(queue, split_of(queue))
    except FileNotFoundError:  # one ended while we looked: not the last word
        return {0: None}
    return {number: state for number, state in states.items() if state not in ("S1", "S2")}


def queue_file(home: Path, kind: str, number: int) -> Path:
    """A message's file."""
    return home / "queue" / Names(split_of(f"{home}/queue")).path(kind, number)


def assert_clean(home: Path) -> None:
    """Every message is in a legal state and every name is right."""
    states, oddities = survey(f"{home}/queue", split_of(f"{home}/queue"))
    assert not oddities
    assert None not in states.values(), states


class Pipe:
    """Both ends of a pipe, above the descriptors that qmail-send uses."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()

    def close(self) -> None:
        """Close what is open."""
        for fd in (self.read, self.write):
            if fd >= 0:
                os.close(fd)
        self.read = self.write = -1

    def close_read(self) -> None:
        """Close our copy of the reading end."""
        os.close(self.read)
        self.read = -1

    def close_write(self) -> None:
        """Close our copy of the writing end."""
        os.close(self.write)
        self.write = -1


class Sender:
    """A running qmail-send whose spawners the test plays; qmail-clean is the real one unless told otherwise."""

    def __init__(self, home: Path, limits: tuple[int, int] = (10, 20), *, clean: bool = True, **extra: str) -> None:
        self.home = home
        self.log_pipe = Pipe()
        self.to = [Pipe(), Pipe(), Pipe()]
        self.back = [Pipe(), Pipe(), Pipe()]
        self._log = b""
        self._orders = [b"", b""]
        env = environment(QMAILHOME=str(home), **extra)
        self._clean: int | None = None
        everything = [self.log_pipe, *self.to, *self.back]
        for pipe in everything:
            os.set_inheritable(pipe.read, False)
            os.set_inheritable(pipe.write, False)
        if clean:
            self._clean = chain.spawn([ours("qmail-clean")], env, {0: self.to[2].read, 1: self.back[2].write})
        fds = {0: self.log_pipe.write}
        for number, (to, back) in enumerate(zip(self.to, self.back, strict=True)):
            fds[2 * number + 1] = to.write
            fds[2 * number + 2] = back.read
        self.pid = chain.spawn([ours("qmail-send")], env, fds)
        self.log_pipe.close_write()
        for to, back in zip(self.to, self.back, strict=True):
            to.close_write()
            back.close_read()
        if clean:
            self.to[2].close_read()
            self.back[2].close_write()
        for channel, limit in enumerate(limits):
            if limit >= 0:
                os.write(self.back[channel].write, bytes([limit]))
        self.status: int | None = None

    def line(self, timeout: float = 20) -> bytes:
        """The next line of the log, without its newline."""
        while not self.has_line():
            assert select.select([self.log_pipe.read], [], [], timeout)[0], f"no line; held {self._log!r}"
            self.read_log()
        line, _, self._log = self._log.partition(b"\n")
        return line

    def has_line(self) -> bool:
        """Whether a line has been read that was not asked for yet."""
        return b"\n" in self._log

    def read_log(self) -> None:
        """Read what is there of the log."""
        block = os.read(self.log_pipe.read, 65536)
        assert block, "the log has ended"
        self._log += block

    def lines_until(self, last: bytes) -> list[bytes]:
        """The lines up to the first one that begins with `last`, which is included."""
        found: list[bytes] = []
        while not found or not found[-1].startswith(last):
            found.append(self.line())
        return found

    def order(self, channel: int, timeout: float = 20) -> Order:
        """The next command to a spawner."""
        while not self.has_order(channel):
            fd = self.to[channel].read
            assert select.select([fd], [], [], timeout)[0], f"no order; held {self._orders[channel]!r}"
            block = os.read(fd, 65536)
            assert block, "the channel has ended"
            self._orders[channel] += block
        data = self._orders[channel]
        message, sender, recipient, self._orders[channel] = data[1:].split(b"\0", 3)
        return Order(data[0], message, sender, recipient)

    def has_order(self, channel: int) -> bool:
        """Whether a command has been read that was not asked for yet."""
        return self._orders[channel].count(b"\0", 1) >= 3

    def report(self, channel: int, slot: int, text: bytes) -> None:
        """Report on a delivery: letter and text."""
        os.write(self.back[channel].write, bytes([slot]) + text + b"\0")

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def poll(self) -> int | None:
        """The exit code once it has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def exit_code(self) -> int:
        """Wait for the end."""
        wait_for(lambda: self.poll() is not None, timeout=20)
        assert self.status is not None
        return self.status

    def close(self) -> None:
        """End it and everything that was started for it."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        for pipe in (self.log_pipe, *self.to, *self.back):
            pipe.close()
        if self._clean is not None:
            os.waitpid(self._clean, 0)


@contextmanager
def sender(home: Path, limits: tuple[int, int] = (10, 20), *, clean: bool = True, **extra: str) -> Iterator[Sender]:
    """A qmail-send for the block; `extra` variables are in its environment."""
    process = Sender(home, limits, clean=clean, **extra)
    try:
        yield process
    finally:
        process.close()


class Spawner:
    """A spawner on pipes."""

    def __init__(self, home: Path, name: str, *words: str, **extra: str) -> None:
        self.process = subprocess.Popen(
            [ours(name), *words],
            env=environment(QMAILHOME=str(home), **extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin = self.process.stdin
        self.stdout = self.process.stdout.fileno()
        self._held = b""

    def limit(self) -> int:
        """The first byte."""
        return self._more()[0]

    def _more(self) -> bytes:
        assert select.select([self.stdout], [], [], 20)[0], f"nothing comes; held {self._held!r}"
        data = os.read(self.stdout, 65536)
        assert data, "the spawner has ended"
        return data

    def order(self, slot: int, messid: bytes, sender: bytes, recipient: bytes) -> None:
        """Give a command."""
        self.stdin.write(b"%c%b\0%b\0%b\0" % (slot, messid, sender, recipient))
        self.stdin.flush()

    def report(self) -> tuple[int, bytes]:
        """(slot, letter and text) of the next report."""
        while b"\0" not in self._held[1:]:
            self._held += self._more()
        end = self._held.index(b"\0", 1)
        slot, text, self._held = self._held[0], self._held[1:end], self._held[end + 1 :]
        return slot, text

    def end(self) -> int:
        """Close the commands and wait."""
        self.stdin.close()
        return self.process.wait(20)


@contextmanager
def spawner(home: Path, name: str, *words: str, **extra: str) -> Iterator[Spawner]:
    """A spawner for the block; `extra` variables are in its environment."""
    running = Spawner(home, name, *words, **extra)
    try:
        yield running
    finally:
        running.stdin.close()
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
        if running.process.stdout is not None:
            running.process.stdout.close()


def delivery_account() -> tuple[int, int]:
    """Whom deliveries are made as: nobody for root, who may not deliver, else ourselves."""
    return (65534, 65534) if os.geteuid() == 0 else (os.getuid(), os.getgid())


def add_users(home: Path, directory: Path, names: list[str]) -> None:
    """Users with a Maildir each below `directory`, and their extensions, in users/cdb."""
    uid, gid = delivery_account()
    records = [(b"", b"-")]
    for name in names:
        for part in ("", "Maildir", "Maildir/tmp", "Maildir/new", "Maildir/cur"):
            path = directory / name / part
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700)
            os.chown(path, uid, gid)
        directory.chmod(0o755)
        fields = [name, str(uid), str(gid), str(directory / name)]
        records.append((f"!{name}\0".encode(), "\0".join([*fields, "", ""]).encode()))
        records.append((f"!{name}-".encode(), "\0".join([*fields, "-", ""]).encode()))
    write_cdb(str(home / "users" / "cdb"), str(home / "users" / "cdb.tmp"), records)


def dot_qmail(directory: Path, name: str, text: str) -> None:
    """Write a .qmail file of a user made by `add_user`."""
    path = directory / name
    path.write_text(text)
    path.chmod(0o644)
    os.chown(path, *delivery_account())


class Stack:
    """qmail-start and all it started."""

    def __init__(self, home: Path, log: Path) -> None:
        self.home = home
        self.log_path = log
        self._file = log.open("ab")
        self.process = subprocess.Popen(
            [ours("qmail-start"), "./Maildir/"],
            env=environment(QMAILHOME=str(home)),
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def log(self) -> list[str]:
        """The lines so far."""
        return self.log_path.read_text("latin-1").splitlines()

    def children(self) -> dict[str, int]:
        """name → pid of the daemons."""
        found = {}
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode().split()
            except OSError:
                continue
            if words:
                found[words[0].rpartition("/")[2]] = int(pid)
        return found

    def stop(self) -> None:
        """TERM and wait; then whatever is left of the session."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._file.close()
        wait_for(self._is_gone, timeout=15)

    def _is_gone(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False


@contextmanager
def stack(home: Path, log: Path) -> Iterator[Stack]:
    """The stack for the block."""
    running = Stack(home, log)
    try:
        yield running
    finally:
        running.stop()


def wait_until(moment: float) -> None:
    """Wait for a time of the clock; for what qmail counts in whole seconds."""
    wait_for(lambda: time.time() >= moment, timeout=20)
