"""S4 → S5 under power cuts: until info and the channels are whole and sure, todo is."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmail.queue.client import open_queue
from qmail.queue.names import Names
from tests.queue import strace
from tests.queue.powercut import Call, Disk, Machine
from tests.support import ROOT, environment, ours

NAMES = Names(23)
SCRIPT = """
import os, sys
root, queue, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path.insert(0, root)
os.chdir(queue)
from qmail.commands.qmail_clean import clean
from qmail.queue.names import Names
from qmail.send.rewrite import Rewriter
from qmail.send.todo import Preprocessor
names = Names(23)
rewriter = Rewriter(b"example.org", frozenset([b"example.org"]), frozenset(), {})
assert Preprocessor(names, lambda line: None).prepare(number, rewriter) == [0, 1]
assert clean(names, b"todo/%d" % number) == b"+"
"""
INFO, LOCAL, REMOTE = b"Fa@b.c\0", b"Tx@example.org\0Ty@example.org\0", b"Tz@far.org\0"


class Lost(AssertionError):
    """A power cut would lose a recipient."""


@pytest.fixture
def number(home: Path) -> int:
    """A message in todo."""
    queue = open_queue(str(home), {})
    queue.put(b"Subject: x\n\nbody\n")
    queue.envelope(b"a@b.c", [b"x@example.org", b"z@far.org", b"y@example.org"])
    assert queue.close() == 0
    (todo,) = home.glob("queue/todo/*/*")
    return int(todo.name)


def record(home: Path, tmp_path: Path, number: int) -> list[Call]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    argv = [ours("python"), "-IS", str(script), str(ROOT), f"{home}/queue", str(number)]
    return strace.parse(strace.record(tmp_path, argv, env=environment()), f"{home}/queue")


def machine_with(before: Disk, number: int) -> Machine:
    machine = Machine()
    machine.found(before[NAMES.todo(number)], NAMES.todo(number), NAMES.intd(number))
    for path in set(before) - {NAMES.todo(number), NAMES.intd(number)}:
        machine.found(before[path], path)
    return machine


def prove(machine: Machine, calls: list[Call], before: Disk, number: int) -> None:
    """Raises Lost."""
    expected = {NAMES.info(number): INFO, NAMES.local(number): LOCAL, NAMES.remote(number): REMOTE}
    for position in range(len(calls) + 1):
        for disk in machine.disks():
            if disk.get(NAMES.mess(number)) != before[NAMES.mess(number)]:
                raise Lost(f"the message, before call {position}")
            if disk.get(NAMES.todo(number)) == before[NAMES.todo(number)]:
                continue
            if {path: disk.get(path) for path in expected} != expected:
                raise Lost(f"recipients, before call {position}")
        if position < len(calls):
            machine.do(calls[position])


def files(home: Path) -> Disk:
    return {str(path.relative_to(home / "queue")): path.read_bytes() for path in home.glob("queue/*/*/*")}


def test_every_prefix_of_the_trace(home: Path, tmp_path: Path, number: int) -> None:
    before = files(home)
    calls = record(home, tmp_path, number)
    prove(machine_with(before, number), calls, before, number)
    assert files(home).keys() == {NAMES.mess(number), NAMES.info(number), NAMES.local(number), NAMES.remote(number)}


def test_what_an_earlier_attempt_left_does_not_matter(home: Path, tmp_path: Path, number: int) -> None:
    for path in (NAMES.info(number), NAMES.local(number), NAMES.remote(number)):
        (home / "queue" / path).write_bytes(b"half")
    before = files(home)
    calls = record(home, tmp_path, number)
    assert [call.name for call in calls].count("unlink") == 5
    prove(machine_with(before, number), calls, before, number)


def test_the_proof_fails_without_any_one_fsync(home: Path, tmp_path: Path, number: int) -> None:
    before = files(home)
    calls = record(home, tmp_path, number)
    syncs = [position for position, call in enumerate(calls) if call.name == "fsync"]
    assert len(syncs) >= 4
    for position in syncs:
        with pytest.raises(Lost):
            prove(machine_with(before, number), calls[:position] + calls[position + 1 :], before, number)


def test_the_proof_fails_for_a_hasty_unlink(home: Path, tmp_path: Path, number: int) -> None:
    before = files(home)
    calls = record(home, tmp_path, number)
    unlink = next(call for call in calls if call.name == "unlink" and call.path == NAMES.todo(number))
    last_sync = max(position for position, call in enumerate(calls) if call.name == "fsync")
    with pytest.raises(Lost):
        prove(machine_with(before, number), [*calls[:last_sync], unlink, *calls[last_sync:]], before, number)
