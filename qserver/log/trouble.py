"""What multilog does about trouble: say it, wait, try again, for ever; nothing is lost meanwhile (daemontools 10.7)."""

from __future__ import annotations

import os
import time

from qserver.base.errors import describe, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")

PAUSE = 5
"""Seconds between two attempts."""


def pause(doing: bytes | str, error: OSError | int | None = None) -> None:
    """Say `multilog: warning: DOING, pausing[: ERRTEXT]` and wait."""
    text = os.fsdecode(doing)
    say(describe("multilog", "warning", f"{text}, pausing", error, "unknown error"))
    time.sleep(PAUSE)


def insist(doing: bytes | str, call: Callable[P, T], *args: P.args, **keywords: P.kwargs) -> T:
    """The call's result, however often it must be tried; `doing` is what cannot be done."""
    while True:
        try:
            return call(*args, **keywords)
        except OSError as error:
            pause(doing, error)
