"""Interleaved rounds, medians, ratios; the table and the JSON they become."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass
class Contender:
    """One side of a comparison: calling it runs the workload once and returns its figure."""

    name: str
    run: Callable[[], float]
    figures: list[float] = field(default_factory=list)

    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.figures)

    def spread(self) -> str:
        """`median (min-max)`."""
        return f"{number(self.median())} ({number(min(self.figures))}-{number(max(self.figures))})"


@dataclass
class Row:
    """A finished comparison. `more_is_better` tells the ratio's direction: it is always ours over theirs."""

    workload: str
    unit: str
    ours: Contender
    peer: Contender | None
    goal: float | None
    goal_is_at_most: bool = False

    def ratio(self) -> float | None:
        """Ours over the peer's, of the medians."""
        return None if self.peer is None else self.ours.median() / self.peer.median()

    def measured(self) -> float:
        """What the goal is held against: the ratio, or our figure where there is no peer."""
        return self.ours.median() if self.peer is None else self.ours.median() / self.peer.median()

    def met(self) -> bool | None:
        """Whether the goal was reached; None without one."""
        if self.goal is None:
            return None
        return self.measured() <= self.goal if self.goal_is_at_most else self.measured() >= self.goal

    def as_json(self) -> Mapping[str, object]:
        """Everything, figures of each round included."""
        return {
            "workload": self.workload,
            "unit": self.unit,
            "ours": {"name": self.ours.name, "median": self.ours.median(), "rounds": self.ours.figures},
            "peer": self.peer and {"name": self.peer.name, "median": self.peer.median(), "rounds": self.peer.figures},
            "ratio": self.ratio(),
            "goal": self.goal,
            "met": self.met(),
        }


def interleave(contenders: list[Contender], rounds: int) -> None:
    """Run all contenders in turn, `rounds` times, after one uncounted warm-up; the order rotates."""
    for contender in contenders:
        contender.run()
    for number_of_round in range(rounds):
        shift = number_of_round % len(contenders)
        for contender in contenders[shift:] + contenders[:shift]:
            contender.figures.append(contender.run())


def number(value: float) -> str:
    """Three significant digits at least, no exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


HEAD = ("workload", "unit", "ours", "peer", "", "ratio", "goal", "")


def table(rows: list[Row]) -> str:
    """Rows as a Markdown table."""
    cells = [HEAD, tuple("---" for _ in HEAD), *(_cells(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def _cells(row: Row) -> tuple[str, ...]:
    ratio = row.ratio()
    goal = "" if row.goal is None else f"{'at most' if row.goal_is_at_most else 'at least'} {row.goal:g}"
    return (
        row.workload,
        row.unit,
        row.ours.spread(),
        row.peer.name if row.peer else "-",
        row.peer.spread() if row.peer else "",
        "" if ratio is None else f"{ratio:.2f}",
        goal,
        {None: "", True: "met", False: "missed"}[row.met()],
    )
