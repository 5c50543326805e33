"""What svstat tells programs: one table of fields, as words (`-o`) and as JSON values (daemontools 24.5)."""

from __future__ import annotations

import os

from qserver.base import tai64n
from qserver.service import detail as details
from qserver.service import status as statuses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qserver.service.detail import Detail
    from qserver.service.status import Status

    Value = bool | int | str

WAITS = {details.BACKOFF: "backoff", details.NEEDS: "needs"}
NOTHING = "-"


class Seen:
    """What was found of one process of a service; of a log process there is no detail."""

    __slots__ = ("detail", "normally_up", "status")

    def __init__(self, status: Status, detail: Detail | None, normally_up: bool) -> None:
        self.status = status
        self.detail = detail or details.Detail()
        self.normally_up = normally_up


def state(status: Status) -> str:
    """The state's name; what 0.76 does not tell is running or stopped."""
    if status.state is None:
        return "running" if status.pid else "stopped"
    return statuses.STATES[status.state] if status.state < len(statuses.STATES) else "unknown"


FIELDS: dict[str, Callable[[Seen], Value]] = {
    "up": lambda seen: seen.status.pid != 0,
    "wantedup": lambda seen: seen.status.want == statuses.UP,
    "normallyup": lambda seen: seen.normally_up,
    "ready": lambda seen: seen.status.ready,
    "paused": lambda seen: seen.status.paused and seen.status.pid != 0,
    "pid": lambda seen: seen.status.pid or -1,
    "updownsince": lambda seen: label(seen.status.when),
    "updownfor": lambda seen: seen.status.seconds(),
    "state": lambda seen: state(seen.status),
    "starts": lambda seen: seen.detail.starts,
    "exitcode": lambda seen: seen.detail.code,
    "signal": lambda seen: seen.detail.signal,
    "waits": lambda seen: WAITS.get(seen.detail.waits, NOTHING),
    "backoff": lambda seen: seen.detail.pause if seen.detail.waits == details.BACKOFF else 0,
}
"""In the order in which JSON has them. `pid` is -1 where there is none; `backoff` is in milliseconds."""


def label(when: int) -> str:
    """A TAI64N label; seconds out of its range go round."""
    seconds, ns = divmod(when, tai64n.BILLION)
    return f"@{(tai64n.EPOCH + seconds) % 2**64:016x}{ns:08x}"


def words(names: list[str], seen: Seen) -> str:
    """The values of these fields, separated by spaces."""
    return " ".join(_word(FIELDS[name](seen)) for name in names)


def _word(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_json(service: str, seen: Seen) -> str:
    """All fields as an object, in one line."""
    return dumps({"service": service, **{name: value(seen) for name, value in FIELDS.items()}})


def dumps(found: dict[str, Value]) -> str:
    """JSON in ASCII; bytes of a name that are not UTF-8 become lone surrogates, as Python has them."""
    import json

    return json.dumps(found)


def split(text: str) -> list[str]:
    """The names in the argument of `-o`. Raises ValueError with the first one that is none."""
    names = text.split(",")
    for name in names:
        if name not in FIELDS:
            raise ValueError(os.fsdecode(os.fsencode(name)))
    return names
