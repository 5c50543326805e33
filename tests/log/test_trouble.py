"""Every trouble of 10.7: what is said, and that the same operation succeeds at last and nothing is lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qserver.base import chain
from qserver.log import finishing, trouble
from qserver.log.directory import LogDirectory
from qserver.log.script import Settings
from tests.log.test_directory import content


class Failing:
    """Makes the first `times` calls of something fail that are for `name` (any where it is empty)."""

    def __init__(self, real: Callable[..., object], name: bytes = b"", times: int = 2) -> None:
        self.real = real
        self.name = name
        self.times = times

    def __call__(self, *args: object, **keywords: object) -> object:
        if self.times and (not self.name or self.name in args):
            self.times -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self.real(*args, **keywords)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings, without the waiting."""
    heard: list[str] = []

    def pause(doing: bytes | str, error: OSError | int | None = None) -> None:
        heard.append(os.fsdecode(doing))

    monkeypatch.setattr(trouble, "pause", pause)
    monkeypatch.setattr(finishing, "pause", pause)
    return heard


@pytest.fixture
def here() -> Iterator[None]:
    start = os.open(".", os.O_RDONLY)
    yield
    os.fchdir(start)
    os.close(start)


def a_log(tmp_path: Path, processor: bytes | None = None) -> LogDirectory:
    log = LogDirectory(b"./d", Settings(4096, 2, processor), {"PATH": "/usr/bin:/bin"})
    log.open(os.open(tmp_path, os.O_RDONLY))
    return log


@pytest.mark.parametrize(
    ("call", "name", "words"),
    [
        ("write", b"", "unable to write to ./d/current"),
        ("fsync", b"", "unable to write ./d/current to disk"),
        ("fchdir", b"", "unable to switch to ./d"),
        ("rename", b"current", "unable to rename current to previous in directory ./d"),
        ("open", b"current", "unable to create ./d/current"),
        ("fchmod", b"", "unable to set mode of ./d/current"),
        ("chmod", b"previous", "unable to set mode of ./d/previous"),
        ("stat", b"previous", "unable to stat ./d/previous"),
        ("link", b"previous", "unable to link to ./d/@"),
        ("unlink", b"previous", "unable to remove ./d/previous"),
        ("listdir", b"", "unable to read ./d"),
    ],
)
def test_rotation_insists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], here: None, call: str, name: bytes, words: str
) -> None:
    log = a_log(tmp_path)
    data = b"".join(b"%099d\n" % number for number in range(42))
    log.write(b"x" * 99 + b"\n")
    monkeypatch.setattr(os, call, Failing(getattr(os, call), name))
    log.write(data)
    log.close()
    assert len(said) == 2
    assert all(text.startswith(words) for text in said), said
    assert content(tmp_path / "d") == b"x" * 99 + b"\n" + data
    assert len(list((tmp_path / "d").glob("@*.s"))) == 1


@pytest.mark.parametrize(
    ("call", "name", "words"),
    [("unlink", b"previous", "unable to remove ./d/previous"),
     ("rename", b"newstate", "unable to rename newstate to state in directory ./d"),
     ("link", b"processed", "unable to link to ./d/@")],
)  # fmt: skip
def test_a_processor_s_files_insist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], here: None, call: str, name: bytes, words: str
) -> None:
    log = a_log(tmp_path, b"cat; echo new >&5")
    monkeypatch.setattr(os, call, Failing(getattr(os, call), name))
    log.write(b"x" * 4000 + b"\n")
    log.close()
    assert [text[: len(words)] for text in said] == [words] * 2
    assert content(tmp_path / "d") == b"x" * 4000 + b"\n"
    assert (tmp_path / "d" / "state").read_bytes() == b"new\n"


def test_no_process_for_a_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], here: None) -> None:
    log = a_log(tmp_path, b"cat")
    monkeypatch.setattr(chain, "spawn", Failing(chain.spawn))
    log.write(b"x" * 4000 + b"\n")
    log.close()
    assert said == ["unable to fork for processor in ./d"] * 2
    assert content(tmp_path / "d") == b"x" * 4000 + b"\n"
