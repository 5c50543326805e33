"""Full files on their way to the disk while others are written."""

from __future__ import annotations

import _thread
import errno
import os
import threading
from pathlib import Path

import pytest

from qserver.log import finishing
from qserver.log.directory import LogDirectory
from qserver.log.finishing import Finishing
from qserver.log.script import Settings
from tests.support import wait_for


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "previous").write_bytes(b"lines\n")
    return tmp_path


def begin(place: Path) -> Finishing:
    made = Finishing(b"DIR", os.open(place, os.O_RDONLY), 5)
    made.later(os.open(place / "previous", os.O_RDONLY), b".s")
    return made


def test_a_full_file_gets_its_name_and_its_mode(place: Path) -> None:
    begin(place).wait()
    (finished,) = place.iterdir()
    assert finished.name.startswith("@")
    assert finished.name.endswith(".s")
    assert finished.stat().st_mode & 0o777 == 0o744
    assert finished.read_bytes() == b"lines\n"


def test_lines_are_taken_while_the_disk_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, real = threading.Event(), os.fsync

    def slow(fd: int) -> None:
        assert go_on.wait(20)
        real(fd)

    monkeypatch.setattr(os, "fsync", slow)
    here = os.open(".", os.O_RDONLY)
    log = LogDirectory(os.fsencode(tmp_path / "log"), Settings(4096, 5), {})
    try:
        log.open(os.open(tmp_path, os.O_RDONLY))
        log.write(b"x" * 4000 + b"\n")
        log.write(b"y" * 1000 + b"\n")
        assert (tmp_path / "log" / "current").read_bytes() == b"y" * 1000 + b"\n"
        assert (tmp_path / "log" / "previous").read_bytes() == b"x" * 4000 + b"\n"
        go_on.set()
        log.write(b"z" * 3000 + b"\n")
        log.close()
    finally:
        os.fchdir(here)
    names = sorted(path.name for path in (tmp_path / "log").iterdir())
    assert [name for name in names if name[0] != "@"] == ["current", "lock", "state"]
    assert [(tmp_path / "log" / name).stat().st_size for name in names if name[0] == "@"] == [4001, 4002]


def test_trouble_is_waited_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[bytes] = []
    go_on = threading.Event()

    def pause(doing: bytes, error: OSError) -> None:
        said.append(doing)
        assert go_on.wait(20)
        monkeypatch.undo()

    def fail(*_args: object, **_keywords: object) -> None:
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    monkeypatch.setattr(finishing, "pause", pause)
    monkeypatch.setattr(os, "link", fail)
    made = begin(place)
    wait_for(lambda: said)
    waiting = threading.Thread(target=made.mind_trouble)
    waiting.start()
    assert waiting.is_alive()
    assert [path.name for path in place.iterdir()] == ["previous"]
    go_on.set()
    waiting.join(20)
    assert not waiting.is_alive()
    assert [path.name[0] for path in place.iterdir()] == ["@"]
    assert said[0].startswith(b"unable to link to DIR/@")
    made.mind_trouble()


def test_where_no_thread_is_to_be_had(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", none)
    begin(place)
    assert [path.name[0] for path in place.iterdir()] == ["@"]
