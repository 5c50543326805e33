"""supervise as a table: what each event does to a process in each state (daemontools 5.2-5.4).

No process, clock or file here: the actions are methods of the one who carries them out (`supervisor.Process`).
A row says what happens; a pair that is not in the table changes nothing.
"""

from __future__ import annotations

from qserver.service.status import FAILED, RUNNING, STARTED, STARTING, STOPPED, STOPPING

WANT_UP, WANT_DOWN, WANT_ONCE = range(3)
"""Commands `u`, `d`, `o`."""
START_OK, START_BAD = range(3, 5)
"""`start` ended with 0, or not."""
RUN_ENDED, RUN_REFUSED = range(5, 7)
"""`run` or `log` ended, or ended with 100: "do not try again"."""
STOP_ENDED, STOP_REFUSED = range(7, 9)
"""The same of `stop`."""
EVENTS = range(9)

SCRIPT_EVENTS: dict[str, tuple[int, int, int]] = {
    # script: ended with 0, with 100, in another way
    "start": (START_OK, START_BAD, START_BAD),
    "run": (RUN_ENDED, RUN_REFUSED, RUN_ENDED),
    "log": (RUN_ENDED, RUN_REFUSED, RUN_ENDED),
    "stop": (STOP_ENDED, STOP_REFUSED, STOP_ENDED),
}

STATES = (STOPPED, STARTING, STARTED, RUNNING, STOPPING, FAILED)
_DOWN = (STOPPED, STARTED, FAILED)
"""States in which no process runs. (STARTING may be either: `start` runs, or a start waits for its second.)"""
_ALIVE = (STARTING, RUNNING, STOPPING)


def _rows() -> dict[tuple[int, int], str]:
    rows: dict[tuple[int, int], str] = {}
    for state in _DOWN:
        rows[state, WANT_UP] = "begin"
        rows[state, WANT_ONCE] = "begin"
        rows[state, WANT_DOWN] = "rest"
    for state in _ALIVE:
        rows[state, WANT_UP] = "keep"
        rows[state, WANT_ONCE] = "keep"
        rows[state, WANT_DOWN] = "terminate"
        rows[state, START_OK] = "go_on"
        rows[state, START_BAD] = "fail"
        rows[state, RUN_ENDED] = "again_or_rest"
        rows[state, RUN_REFUSED] = "fail"
        rows[state, STOP_ENDED] = "again_or_rest"
        rows[state, STOP_REFUSED] = "fail"
    return rows


TABLE = _rows()
ACTIONS = frozenset(TABLE.values())
