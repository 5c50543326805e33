"""scripts/bench [-r ROUNDS] [-s SCALE] [-j FILE] [WORKLOAD ...]: measures and prints the table; -l lists them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

from bench.measure import Row, table
from bench.plan import Plan
from bench.servers import Missing
from bench.workloads import WORKLOADS


def main() -> int:
    """Measure what was asked for; a peer that is missing leaves its rows out, with the reason."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("-s", "--scale", type=float, default=1.0, help="factor on every count")
    parser.add_argument("-j", "--json", type=Path, help="write all figures there")
    parser.add_argument("-l", "--list", action="store_true")
    parser.add_argument("workload", nargs="*", help=f"of: {' '.join(WORKLOADS)}; default all")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:15} {(run.__doc__ or '').strip()}" for name, run in WORKLOADS.items()))
        return 0
    unknown = [name for name in options.workload if name not in WORKLOADS]
    if unknown:
        parser.error(f"no such workload: {' '.join(unknown)}")
    rows: list[Row] = []
    left_out: list[str] = []
    for name in options.workload or WORKLOADS:
        _measure(name, Plan(options.rounds, options.scale), rows, left_out)
    print(machine())
    print(f"Median (min-max) of {options.rounds} interleaved rounds.\n")
    print(table(rows))
    for reason in left_out:
        print(f"\nleft out: {reason}")
    if options.json:
        data = {"machine": machine(), "rounds": options.rounds, "rows": [row.as_json() for row in rows]}
        options.json.write_text(json.dumps(data, indent=2) + "\n")
    return 0 if all(row.met() is not False for row in rows) else 1


def _measure(name: str, plan: Plan, rows: list[Row], left_out: list[str]) -> None:
    try:
        for row in WORKLOADS[name](plan):
            rows.append(row)
            print(f"# {time.strftime('%H:%M:%S')} {row.workload}: {row.ours.spread()} {row.unit}", file=sys.stderr)
    except Missing as missing:
        left_out.append(f"{name}: {missing}")


def machine() -> str:
    """One line about where this was measured."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} CPUs, {platform.system()} {platform.release()}, {platform.python_implementation()} "
        f"{platform.python_version()}, load {load:.1f}, {time.strftime('%Y-%m-%d')}"
    )


if __name__ == "__main__":
    sys.exit(main())
