"""kill -9 of qmail-queue at every system call: what it leaves is a legal state, and never half a message in todo."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from qmail.queue.names import parse_todo
from qmail.queue.states import survey
from tests.queue import strace
from tests.support import environment, make_home, ours, run

MESSAGE = b"Subject: x\n\nbody\n"
SPLIT = 23


@pytest.fixture
def envelope(tmp_path: Path) -> Path:
    path = tmp_path / "envelope"
    path.write_bytes(b"Fa@b.c\0Td@e.f\0\0")
    return path


def queue_at(home: Path, envelope: Path, argv: list[str]) -> int:
    """Run argv, traced or not, with the message and that envelope on descriptor 1; returns its exit code."""
    script = ["/bin/sh", "-c", f'exec "$@" 1<{envelope}', "sh", *argv]
    return run(script, env=environment(QMAILHOME=str(home)), input=MESSAGE).returncode


@pytest.mark.parametrize(
    "program", [pytest.param(["qmail-queue"], id="qmail-queue"), pytest.param(["qmail-inject", "-a", "d@e.f"], id="in-process")]
)
def test_killed_at_every_system_call(tmp_path: Path, envelope: Path, program: list[str]) -> None:
    home = make_home(tmp_path / "first")
    argv = [ours(program[0]), *program[1:]]
    queue_at(home, envelope, argv)  # compiles what is not compiled yet: every later start is the same
    env = environment(QMAILHOME=str(home))
    trace = strace.record(tmp_path, argv, env=env, input=MESSAGE, script=f'exec "$@" 1<{envelope}')
    points = strace.deaths(trace, f"{home}/queue")
    assert 15 <= len(points) <= 40
    seen: Counter[str | None] = Counter()
    for name, count in points:
        home = make_home(tmp_path / f"{name}{count}")
        assert queue_at(home, envelope, strace.kill_at(name, count, argv)) != 0, (name, count)
        seen += _states(home)
    # S1 shows in no survey; the first three deaths leave it, with or without a file in pid
    assert set(seen) == {"S2", "S3", "S4"}, seen


def _states(home: Path) -> Counter[str | None]:
    """The states of what is left, all legal; whatever is in todo is whole."""
    states, oddities = survey(f"{home}/queue", SPLIT)
    assert not oddities
    assert None not in states.values()
    for todo in home.glob("queue/todo/*/*"):
        assert parse_todo(todo.read_bytes()).recipients == [b"d@e.f"]
        assert (home / "queue" / "mess" / todo.parent.name / todo.name).read_bytes().endswith(MESSAGE)
    return Counter(states.values())
