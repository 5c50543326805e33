"""Rules: tcprules, look-ups, and tcpserver with a large file of them."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench import clients, servers
from bench.measure import Contender, Row, interleave
from bench.plan import Figures, Plan, compare
from qserver.net.rules import look_up


@contextmanager
def rules_file(count: int) -> Iterator[Path]:
    """`count` rules as text, most with settings, and our compilation of them beside it (rules.cdb)."""
    with tempfile.TemporaryDirectory() as top:
        source = Path(top, "rules.txt")
        with source.open("w") as file:
            for n in range(count):
                tail = f',RELAYCLIENT="",DATABYTES="{n}"' if n % 10 < 7 else ""
                file.write(f"{n >> 16}.{n >> 8 & 255}.{n & 255}.:allow{tail}\n")
        _compile(str(servers.BIN / "tcprules"), source)
        yield source


def _compile(program: str, source: Path) -> float:
    with source.open("rb") as file:
        start = time.perf_counter()
        subprocess.run([program, source.with_suffix(".cdb"), source.with_suffix(".tmp")], stdin=file, check=True)
        return time.perf_counter() - start


def compiling(plan: Plan) -> Figures:
    """tcprules with 100,000 rules, and a look-up in them."""
    count = plan.count(100_000)
    with rules_file(count) as source:
        ours, theirs = str(servers.BIN / "tcprules"), servers.peer("tcprules")
        yield compare(
            plan, "tcprules, 100,000 rules", "s", partial(_compile, ours, source), "tcprules (C)",
            partial(_compile, theirs, source), 4.0, at_most=True,
        )  # fmt: skip
        path, times = str(source.with_suffix(".cdb")), plan.count(20_000)

        def microseconds(ip: str) -> float:
            start = time.perf_counter()
            for _ in range(times):
                look_up(path, ip, None, None)
            return (time.perf_counter() - start) / times * 1e6

        for what, ip in (("found", "0.77.77.9"), ("not found", "203.0.113.9")):
            side = Contender("qserver", partial(microseconds, ip))
            interleave([side], plan.rounds)
            yield Row(f"look-up in 100,000 rules, {what}", "µs", side, None, 30.0, goal_is_at_most=True)


def serving(plan: Plan) -> Figures:
    """Connections per second with an external program and a file of 10,000 rules, against Debian's tcpserver."""
    with ExitStack() as stack:
        source = stack.enter_context(rules_file(10_000))
        options = ["-x", str(source.with_suffix(".cdb"))]
        ours, _ = stack.enter_context(servers.tcpserver(["/bin/true"], ours=True, options=options))
        theirs, _ = stack.enter_context(servers.tcpserver(["/bin/true"], ours=False, options=options))
        for count, goal in ((1, 1.0), (10, 0.9)):
            total = plan.count(1000)
            sides = [partial(clients.parallel, count, total, clients.connections(port)) for port in (ours, theirs)]
            yield compare(
                plan, f"connections, /bin/true, 10,000 rules, {count} clients", "conn/s", sides[0], "tcpserver (C)", sides[1],
                goal,
            )  # fmt: skip
