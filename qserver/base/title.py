"""What a process shows as its command line in ps(1), by the C half of setproctitle.

The package around that half imports `logging`, which would cost every forked process two megabytes of page tables and a
fork twice its time.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = "setproctitle"


def setter() -> Callable[[str], object]:
    """The function that sets the title; one that does nothing where the library is not installed."""
    found = next((f"{entry}/{PACKAGE}" for entry in sys.path if os.path.isdir(f"{entry}/{PACKAGE}")), None)
    if found is None:
        return len
    sys.path.insert(0, found)
    try:
        import _setproctitle  # type: ignore[import-not-found]
    except ImportError:
        return len
    finally:
        sys.path.remove(found)
    set_title: Callable[[str], object] = _setproctitle.setproctitle
    return lambda title: set_title(title.encode("utf-8", "replace").decode("utf-8"))  # no surrogates
