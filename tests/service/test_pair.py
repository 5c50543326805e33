"""The tables of svscan: complete, and every entry can be carried out."""

from __future__ import annotations

import os
import time

import pytest

from qserver.service import pair
from qserver.service.pair import ABSENT, RUNNING, TOLD, Half
from qserver.service.scanner import Scanner


def test_every_action_is_a_method() -> None:
    for action in pair.SCANNER.values():
        assert callable(getattr(Scanner, action)), action
    for action in pair.SUPERVISE.values():
        assert callable(getattr(Half, action)), action


def test_wherever_a_supervise_runs_its_end_is_foreseen() -> None:
    for state in (RUNNING, TOLD):
        for event in (pair.END, pair.BAD_END):
            assert (state, event) in pair.SUPERVISE


@pytest.mark.parametrize(
    ("events", "state", "due"),
    [
        ([pair.LOOK], RUNNING, pair.INTERVAL),
        ([pair.LOOK, pair.END], ABSENT, pair.PAUSE),
        ([pair.LOOK, pair.BAD_END], ABSENT, pair.INTERVAL),
        ([pair.LOOK, pair.BAD_END, pair.HURRY], ABSENT, pair.PAUSE),
        ([pair.LOOK, pair.END, pair.HURRY], ABSENT, pair.PAUSE),
        ([pair.LOOK, pair.DISMISS], TOLD, pair.INTERVAL),
        ([pair.LOOK, pair.DISMISS, pair.DISMISS], TOLD, pair.INTERVAL),
        ([pair.LOOK, pair.DISMISS, pair.END], ABSENT, pair.PAUSE),
    ],
)
def test_what_becomes_of_a_supervise(monkeypatch: pytest.MonkeyPatch, events: list[str], state: str, due: float) -> None:
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(pid))
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    half = Half()
    for event in events:
        if half.happen(event) and event == pair.LOOK:
            half.started(77)
    assert (half.state, half.due - 100, half.pid) == (state, due, 0 if state == ABSENT else 77)
    assert sent == [77] * (pair.DISMISS in events)


def test_what_does_not_run_is_not_told_to_end() -> None:
    assert not Half().happen(pair.DISMISS)
    assert not Half().happen(pair.END)
