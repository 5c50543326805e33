"""supervise as a table: what each event does to a process in each state (daemontools 5.2-5.4).

No process, clock or file here: an entry names the method of the one who carries it out (`process.Process`).
"""

from __future__ import annotations

from qserver.service.status import DOWN, FAILED, ONCE, RUNNING, STARTED, STARTING, STOPPED, STOPPING, UP

REFUSED = 100
"""Exit code of a script that does not want to be tried again."""

WANT_UP, WANT_ONCE, WANT_DOWN = range(3)
"""Commands `u`, `o`, `d`."""
STARTED_WELL, GAVE_UP, ENDED_WANTED, ENDED_LEAVING, ENDED_UNWANTED = range(3, 8)
"""Ends of a script, told apart by `outcome`."""
EVENTS = range(8)
STATES = (STOPPED, STARTING, STARTED, RUNNING, STOPPING, FAILED)

WANTED = {WANT_UP: UP, WANT_ONCE: ONCE, WANT_DOWN: DOWN}
"""What each command makes of `want`."""

_NEVER = ""
"""No script runs in this state, so none can end."""

_ROWS: tuple[tuple[int, tuple[str, ...]], ...] = (
    # commands:    u        o        d            ends: start, 0    100, or    want up   want up,    want down
    #                                                               start bad            exit flag   or once
    (STOPPED,  ("begin", "begin", "rest",          _NEVER,         _NEVER,    _NEVER,   _NEVER,     _NEVER)),
    (STARTED,  ("begin", "begin", "retire",        _NEVER,         _NEVER,    _NEVER,   _NEVER,     _NEVER)),
    (FAILED,   ("begin", "begin", "rest",          _NEVER,         _NEVER,    _NEVER,   _NEVER,     _NEVER)),
    (STARTING, ("keep",  "keep",  "terminate",     "go_on",        "fail",    "again",  "stay",     "rest")),
    (RUNNING,  ("keep",  "keep",  "terminate",     "go_on",        "fail",    "again",  "stay",     "rest")),
    (STOPPING, ("keep",  "keep",  "terminate",     "go_on",        "fail",    "begin",  "stay",     "rest")),
)  # fmt: skip
"""STARTING and RUNNING may also be without a process: a start waits for its second."""

TABLE: dict[tuple[int, int], str] = {(state, event): row[event] for state, row in _ROWS for event in EVENTS if row[event]}
ACTIONS = frozenset(TABLE.values())


def outcome(script: str, code: int, want: int, exiting: bool) -> int:
    """The event that the end of a script is: the first of the spec's situations that holds.

    `code` is the exit code, or minus the signal's number; `exiting` the exit flag.
    """
    if code == REFUSED or (script == "start" and code != 0):
        return GAVE_UP
    if script == "start" and want != DOWN:
        return STARTED_WELL
    if want != UP:
        return ENDED_UNWANTED
    return ENDED_LEAVING if exiting else ENDED_WANTED
