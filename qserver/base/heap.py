"""Memory that the allocator keeps.

The C library gives free memory at the end of its heap back to the system, and takes it anew, zeroed page by page, for the
next large object. A loop that reads and writes large blocks spends most of its time on that.
"""

from __future__ import annotations


def reserve(size: int, count: int) -> bytes:
    """Make room for `count` objects of `size` bytes (below 128 KiB), there while what this returns is alive."""
    taken = [bytes(size) for _ in range(count)]
    return taken[-1]  # the highest of them: what lies below it cannot be given back
