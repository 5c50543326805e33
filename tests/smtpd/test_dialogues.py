"""Every dialogue file, held in this process over a socket and with the installed command over pipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.smtpd.dialogue_file import FOLDER, DialogueFile, check_log, check_queue, play, queue_program
from tests.smtpd.wires import PipeWire, as_command, in_process
from tests.support import environment

DIALOGUES = sorted(FOLDER.glob("*.smtp"))


def prepared(path: Path, tmp_path: Path) -> tuple[DialogueFile, dict[str, str]]:
    """The dialogue, and the environment of a server with its home and queue program."""
    dialogue = DialogueFile(path)
    home = tmp_path / "qmail"
    dialogue.write_home(home)
    program = queue_program(tmp_path / "queue", dialogue.queue_code)
    return dialogue, {**dialogue.env, "QMAILHOME": str(home), "QMAILQUEUE": str(program)}


@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
def test_in_process(path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dialogue, env = prepared(path, tmp_path)
    code = in_process(environment(**env), lambda wire: play(dialogue, wire))
    assert code == (1 if dialogue.exit is None else dialogue.exit)
    check_log(dialogue, capfd.readouterr().err.encode())
    check_queue(dialogue, tmp_path / "queue")


@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
def test_command(path: Path, tmp_path: Path) -> None:
    dialogue, env = prepared(path, tmp_path)
    with as_command(env, tmp_path / "log") as process:
        wire = PipeWire(process)
        play(dialogue, wire)
        wire.end()
        assert process.wait(20) == (1 if dialogue.exit is None else dialogue.exit)
    check_log(dialogue, (tmp_path / "log").read_bytes())
    check_queue(dialogue, tmp_path / "queue")
