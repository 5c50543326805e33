"""supervise as a table: what each event does to a process in each phase (daemontools 5.2-5.4, 24.1-24.2).

No process, clock or file here: an entry names the method of the one who carries it out (`process.Process`). The state in
the status file is coarser than a phase: `SHOWN` translates.
"""

from __future__ import annotations

from qserver.service import status
from qserver.service.status import DOWN, ONCE, UP

REFUSED = 100
"""Exit code of a script that does not want to be tried again."""
GIVE_UP = 125
"""Exit code of `finish` by which it says so."""

AT_REST, FAILED, SET_UP, DUE, AGAIN, STARTING, RUNNING, FINISHING, STOPPING, CLOSING = range(10)
"""Phases. SET_UP: `start` has done its work and there is no `run`. DUE: a start that was commanded waits for its second.
AGAIN: a restart does. FINISHING: `finish` runs. STOPPING: told to end by `d`. CLOSING: `stop` runs, or waits for its second.
"""
PHASES = range(10)
RESTING = (AT_REST, FAILED, SET_UP)
"""Nothing runs and nothing waits to be started."""

SHOWN: dict[int, int] = {
    AT_REST: status.STOPPED,
    FAILED: status.FAILED,
    SET_UP: status.STARTED,
    DUE: status.STARTING,
    STARTING: status.STARTING,
    RUNNING: status.RUNNING,
    STOPPING: status.STOPPING,
    CLOSING: status.STOPPING,
}
"""The state that the status file tells; in the phases that are missing it stays what it was."""

WANT_UP, WANT_ONCE, WANT_DOWN, LEAVE = range(4)
"""Commands `u`, `o`, `d`, `x`."""
ITS_TIME, TOO_LONG = 4, 5
"""A start has waited long enough; an end has not come in time."""
RAN, STARTED_WELL, GAVE_UP, ENDED_WANTED, ENDED_LEAVING, ENDED_UNWANTED = range(6, 12)
"""Ends of a script: of a `run` that `finish` follows, and those told apart by `outcome`."""
EVENTS = range(12)

WANTED = {WANT_UP: UP, WANT_ONCE: ONCE, WANT_DOWN: DOWN}
"""What each command makes of `want`."""

_TEXT = """
                       at-rest  failed   set-up   due      again    starting   running    finishing  stopping   closing
command u              begin    begin    begin    hasten   hasten   .          .          .          .          .
command o              begin    begin    begin    hasten   hasten   .          .          .          .          .
command d              rest     rest     retire   give_up  give_up  terminate  terminate  hold_down  terminate  interrupt
command x              .        .        .        .        stay     .          .          .          .          .
its time has come      .        .        .        launch   launch   .          .          .          .          launch
it takes too long      .        .        .        .        .        slay       slay       slay       slay       slay
end of run; finish     .        .        .        .        .        .          finish     .          finish     .
end of start, 0        .        .        .        .        .        go_on      .          .          go_on      .
end, 100; bad start    .        .        .        fail     fail     fail       fail       fail       fail       fail
end, want up           .        .        .        .        .        .          again      again      begin      begin
end, want up; exit     .        .        .        .        .        .          stay       stay       stay       stay
end, want down, once   .        .        .        .        .        rest       rest       rest       rest       rest
"""
"""Rows: EVENTS, columns: phases, both in their order. A dot: nothing happens, or nothing that could happen. `fail` in the
columns of those that wait: a service that needs itself. While commands find the phase unchanged, `want` changes all the same.
"""


def _table(text: str) -> dict[tuple[int, int], str]:
    rows = [line[23:].split() for line in text.strip().splitlines()[1:]]
    cells = ((phase, event, action) for event, row in enumerate(rows) for phase, action in enumerate(row))
    return {(phase, event): action for phase, event, action in cells if action != "."}


TABLE = _table(_TEXT)
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
