"""maildirmake."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.support import ours, run


@pytest.mark.parametrize("name", ["Maildir", "./Maildir", "a b"])
def test_it_makes_four_closed_directories(tmp_path: Path, name: str) -> None:
    done = run(["/bin/sh", "-c", 'umask 0; exec "$0" "$@"', ours("maildirmake"), name, "ignored"], cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert sorted(os.listdir(tmp_path / name)) == ["cur", "new", "tmp"]
    for path in (tmp_path / name, *(tmp_path / name).iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("there", "unable to mkdir there: file already exists"),
        ("no/where", "unable to mkdir no/where: file does not exist"),
        ("there/file/x", "unable to mkdir there/file/x: not a directory"),
        ("", "unable to mkdir : file does not exist"),
    ],
)
def test_errors(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").touch()
    done = run([ours("maildirmake"), name], cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (111, b"", f"maildirmake: fatal: {text}\n".encode())


@pytest.mark.parametrize("missing", ["tmp", "new", "cur", None])
def test_errors_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str | None) -> None:
    from qmail.commands import maildirmake
    from qserver.base.errors import Die

    def mkdir(path: str, mode: int) -> None:
        if path == missing:
            raise OSError(28, "")

    def chdir(path: str) -> None:
        if missing is None:
            raise OSError(13, "")

    monkeypatch.setattr("qmail.commands.maildirmake.os.umask", lambda mask: mask)
    monkeypatch.setattr("qmail.commands.maildirmake.os.mkdir", mkdir)
    monkeypatch.setattr("qmail.commands.maildirmake.os.chdir", chdir)
    with pytest.raises(Die) as caught:
        maildirmake.main(["maildirmake", "box"], {})
    text = f"mkdir box/{missing}: out of disk space" if missing else "chdir to box: access denied"
    assert (caught.value.text, caught.value.code) == (f"maildirmake: fatal: unable to {text}", 111)


def test_usage() -> None:
    done = run([ours("maildirmake")])
    assert (done.returncode, done.stderr) == (100, b"maildirmake: usage: maildirmake name\n")
