"""How long to measure, and the comparison of two sides: what every workload begins with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench.measure import Contender, Row, interleave

Figures = Iterator[Row]


class Plan(NamedTuple):
    """How long to measure: rounds per comparison, and a factor on every count."""

    rounds: int
    scale: float

    def count(self, n: int) -> int:
        """`n`, scaled, at least one."""
        return max(1, int(n * self.scale))


def compare(
    plan: Plan,
    workload: str,
    unit: str,
    ours: Callable[[], float],
    peer_name: str,
    peer: Callable[[], float],
    goal: float | None = None,
    at_most: bool = False,
) -> Row:
    """Measure both sides interleaved."""
    sides = [Contender("qserver", ours), Contender(peer_name, peer)]
    interleave(sides, plan.rounds)
    return Row(workload, unit, sides[0], sides[1], goal, at_most)
