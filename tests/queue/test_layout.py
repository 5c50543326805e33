"""The layout of an empty queue, its states, its trigger."""

from __future__ import annotations

import os
import select
import stat
from pathlib import Path

import pytest

from qmail.queue import layout, trigger
from qmail.queue.states import KINDS, LEGAL, state_of, survey
from tests.support import make_home

MODES = {
    "": 0o750, "pid": 0o700, "mess": 0o750, "mess/22": 0o750, "intd": 0o700, "intd/0": 0o700, "todo": 0o750,
    "todo/5": 0o750, "info": 0o700, "info/1": 0o700, "local": 0o700, "remote/22": 0o700, "bounce": 0o700, "lock": 0o750,
    "lock/sendmutex": 0o600, "lock/tcpto": 0o644, "lock/trigger": 0o622,
}  # fmt: skip


@pytest.mark.parametrize("umask", [0o022, 0o077, 0])
def test_modes(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        layout.make(str(tmp_path))
    finally:
        os.umask(before)
    found = {path: stat.S_IMODE((tmp_path / "queue" / path).stat().st_mode) for path in MODES}
    assert found == MODES
    assert (tmp_path / "queue" / "lock" / "trigger").is_fifo()
    assert (tmp_path / "queue" / "lock" / "tcpto").stat().st_size == 1024
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o755
    for kind in ("mess", "intd", "todo", "info", "local", "remote"):
        assert sorted(os.listdir(tmp_path / "queue" / kind), key=int) == [str(number) for number in range(23)]


def test_what_is_there_is_kept(home: Path) -> None:
    (home / "queue" / "mess" / "3" / "3").write_text("x")
    (home / "queue" / "lock" / "tcpto").write_bytes(b"t" * 1024)
    (home / "queue" / "todo" / "22").rmdir()
    layout.make(str(home), split=7)
    assert (home / "queue" / "mess" / "3" / "3").read_text() == "x"
    assert (home / "queue" / "lock" / "tcpto").read_bytes() == b"t" * 1024
    assert len(os.listdir(home / "queue" / "todo")) == 23


def test_another_split(tmp_path: Path) -> None:
    layout.make(str(tmp_path), split=5)
    assert len(os.listdir(tmp_path / "queue" / "remote")) == 5


STATES = [
    ("", "S1"),
    ("mess", "S2"),
    ("mess intd", "S3"),
    ("mess intd todo", "S4"),
    ("mess todo", "S4"),
    ("mess intd todo info local remote", "S4"),
    ("mess info", "S5"),
    ("mess info local bounce", "S5"),
    ("mess info remote", "S5"),
    ("intd", None),
    ("todo", None),
    ("mess bounce", None),
    ("mess todo bounce", None),
    ("mess intd info", None),
    ("info", None),
    ("mess local", None),
]


@pytest.mark.parametrize(("present", "state"), STATES)
def test_state_of(present: str, state: str | None) -> None:
    assert state_of({kind: kind in present.split() for kind in KINDS}) == state


def test_the_table_has_a_sign_for_each_kind() -> None:
    assert all(len(pattern) == len(KINDS) and set(pattern) <= set("+-?") for pattern in LEGAL.values())


def test_survey(home: Path) -> None:
    queue = home / "queue"
    message = queue / "pid" / "x"
    message.write_text("m")
    number = message.stat().st_ino
    message.rename(queue / "mess" / str(number % 23) / str(number))
    (queue / "info" / str(number % 23) / str(number)).write_bytes(b"F\0")
    (queue / "bounce" / "1").touch()
    (queue / "mess" / "2" / "2").touch()
    (queue / "todo" / "4" / "5").touch()
    (queue / "todo" / "4" / "core").touch()
    states, oddities = survey(str(queue), 23)
    assert states == {number: "S5", 1: None, 2: "S2", 5: "S1"}
    assert sorted(map(repr, oddities)) == ["mess/2/2: is not named by its inode", "todo/4/5: in the wrong directory"]


def test_trigger(tmp_path: Path) -> None:
    queue = make_home(tmp_path / "qmail") / "queue"
    trigger.pull(str(queue))  # nobody listens
    end = trigger.Trigger(str(queue))
    assert not select.select([end.fileno()], [], [], 0)[0]
    trigger.pull(str(queue))
    assert select.select([end.fileno()], [], [], 5)[0]
    end.arm()
    assert not select.select([end.fileno()], [], [], 0)[0]
    trigger.pull(str(queue))
    assert os.read(end.fileno(), 10) == b"\0"
    end.close()
    trigger.pull(str(tmp_path))  # no trigger at all


def test_a_full_trigger_is_no_trouble(home: Path) -> None:
    end = trigger.Trigger(f"{home}/queue")
    filler = os.open(home / "queue" / "lock" / "trigger", os.O_WRONLY | os.O_NONBLOCK)
    try:
        while os.write(filler, bytes(4096)):
            continue
    except BlockingIOError:
        pass
    trigger.pull(f"{home}/queue")
    os.close(filler)
    end.close()
