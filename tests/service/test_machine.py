"""The table of supervise: complete, and every entry can be carried out."""

from __future__ import annotations

import pytest

from qserver.service import machine
from qserver.service.machine import (
    ENDED_LEAVING,
    ENDED_UNWANTED,
    ENDED_WANTED,
    GAVE_UP,
    ITS_TIME,
    LEAVE,
    RAN,
    STARTED_WELL,
    TOO_LONG,
)
from qserver.service.process import PHASE_OF, Process
from qserver.service.status import DOWN, ONCE, STATES, UP

COMMANDS = set(machine.WANTED)
ENDS = {GAVE_UP, ENDED_LEAVING, ENDED_UNWANTED, ENDED_WANTED}


def events_of(phase: int) -> set[int]:
    return {event for known, event in machine.TABLE if known == phase}


def test_every_action_is_a_method_of_a_process() -> None:
    assert {"begin", "terminate", "again", "rest", "fail"} < machine.ACTIONS
    for action in machine.ACTIONS:
        assert callable(getattr(Process, action)), action


def test_the_table_is_as_large_as_its_edges_say() -> None:
    assert {phase for phase, _ in machine.TABLE} == set(machine.PHASES)
    assert {event for _, event in machine.TABLE} == set(machine.EVENTS)


def test_every_state_of_the_status_file_is_shown_by_a_phase() -> None:
    assert set(machine.SHOWN.values()) == set(range(len(STATES)))
    assert set(machine.PHASES) - set(machine.SHOWN) == {machine.AGAIN, machine.FINISHING}


@pytest.mark.parametrize("phase", [machine.RUNNING, machine.FINISHING, machine.STOPPING, machine.CLOSING])
def test_where_a_script_runs_every_end_has_a_row(phase: int) -> None:
    assert events_of(phase) >= ENDS | {TOO_LONG}


def test_start_ends_in_its_own_ways() -> None:
    assert events_of(machine.STARTING) >= {STARTED_WELL, GAVE_UP, ENDED_UNWANTED}


@pytest.mark.parametrize("phase", machine.RESTING)
def test_where_nothing_runs_only_commands_do_something(phase: int) -> None:
    assert events_of(phase) == COMMANDS


def test_what_waits_is_launched_in_time() -> None:
    assert {phase for phase, event in machine.TABLE if event == ITS_TIME} == {machine.DUE, machine.AGAIN, machine.CLOSING}


def test_the_exit_flag_forbids_restarts_alone() -> None:
    assert [phase for phase, event in machine.TABLE if event == LEAVE] == [machine.AGAIN]


def test_finish_follows_run_alone() -> None:
    assert {phase for phase, event in machine.TABLE if event == RAN} == {PHASE_OF["run"], machine.STOPPING}


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
