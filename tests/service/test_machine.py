"""The table of supervise: complete, and every entry can be carried out."""

from __future__ import annotations

import pytest

from qserver.service import machine
from qserver.service.machine import ENDED_LEAVING, ENDED_UNWANTED, ENDED_WANTED, GAVE_UP, STARTED_WELL
from qserver.service.process import Process
from qserver.service.status import DOWN, FAILED, ONCE, RUNNING, STARTED, STARTING, STATES, STOPPED, STOPPING, UP

COMMANDS = set(machine.WANTED)
ENDS = set(machine.EVENTS) - COMMANDS


def events_of(state: int) -> set[int]:
    return {event for known, event in machine.TABLE if known == state}


def test_every_action_is_a_method_of_a_process() -> None:
    assert {"begin", "terminate", "again", "rest", "fail"} < machine.ACTIONS
    for action in machine.ACTIONS:
        assert callable(getattr(Process, action)), action


def test_every_state_of_the_status_file_has_its_rows() -> None:
    assert sorted(machine.STATES) == list(range(len(STATES)))
    for state in machine.STATES:
        assert events_of(state) >= COMMANDS, STATES[state]


@pytest.mark.parametrize("state", [STARTING, RUNNING, STOPPING])
def test_where_a_script_may_run_every_end_has_a_row(state: int) -> None:
    assert events_of(state) == COMMANDS | ENDS


@pytest.mark.parametrize("state", [STOPPED, STARTED, FAILED])
def test_where_none_runs_none_can_end(state: int) -> None:
    assert events_of(state) == COMMANDS


@pytest.mark.parametrize(
    ("script", "code", "want", "exiting", "event"),
    [
        # spec 5.4, row by row
        ("run", 100, UP, False, GAVE_UP),
        ("run", 100, ONCE, True, GAVE_UP),
        ("log", 100, UP, False, GAVE_UP),
        ("stop", 100, DOWN, False, GAVE_UP),
        ("start", 100, UP, False, GAVE_UP),
        ("start", 1, UP, False, GAVE_UP),
        ("start", -15, DOWN, True, GAVE_UP),
        ("start", 0, UP, False, STARTED_WELL),
        ("start", 0, ONCE, False, STARTED_WELL),
        ("start", 0, ONCE, True, STARTED_WELL),
        ("start", 0, DOWN, False, ENDED_UNWANTED),
        ("run", 0, UP, False, ENDED_WANTED),
        ("run", 1, UP, False, ENDED_WANTED),
        ("run", -100, UP, False, ENDED_WANTED),
        ("log", -9, UP, False, ENDED_WANTED),
        ("stop", 0, UP, False, ENDED_WANTED),
        ("run", 0, UP, True, ENDED_LEAVING),
        ("log", 1, UP, True, ENDED_LEAVING),
        ("run", 0, DOWN, False, ENDED_UNWANTED),
        ("run", 1, ONCE, False, ENDED_UNWANTED),
        ("run", -15, DOWN, True, ENDED_UNWANTED),
        ("stop", 3, DOWN, True, ENDED_UNWANTED),
    ],
)
def test_what_the_end_of_a_script_is(script: str, code: int, want: int, exiting: bool, event: int) -> None:
    assert machine.outcome(script, code, want, exiting) == event
