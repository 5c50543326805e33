"""What the stack tells people: the table of services, the credentials, the lines to paste."""

from __future__ import annotations

import time
from pathlib import Path

from qmail.stack.facts import Facts, Paths
from qmail.stack.process import answers, service_pid, svscan_process


def service_rows(paths: Paths, facts: Facts) -> list[tuple[str, ...]]:
    """One row a service: name, address, pid, state."""
    rows: list[tuple[str, ...]] = [("service", "address", "pid", "state")]
    for service in facts.services:
        pid = service_pid(paths, service.name)
        address = f"{service.host}:{service.port}" if service.port else "-"
        rows.append((service.name, address, str(pid or "-"), f"up {uptime(paths, service.name)} s" if pid else "down"))
    return rows


def uptime(paths: Paths, name: str) -> int:
    """Whole seconds since the last change in supervise/status."""
    from qserver.base.tai64n import unpack

    try:
        status = (paths.service / name / "supervise" / "status").read_bytes()
    except OSError:
        return 0
    return max(0, int(time.time()) - unpack(status) // 1_000_000_000)


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows as aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def summary(paths: Paths, facts: Facts) -> str:
    """Everything `up` prints when the stack is ready."""
    users = [("user", "password", "Maildir"), *((u.address, u.password, u.maildir) for u in facts.users)]
    return "\n".join(
        (
            table(service_rows(paths, facts)),
            "",
            table([tuple(row) for row in users]),
            "",
            f"home {paths.home}, logs {paths.log}, facts {paths.facts}",
            "",
            "Try it:",
            *(f"  {line}" for line in paste_lines(facts)),
        )
    )


def paste_lines(facts: Facts) -> list[str]:
    """Commands that send a mail and fetch it, ready to paste."""
    by_name = {service.name: service for service in facts.services}
    smtp, pop3 = by_name["qmail-smtpd"], by_name["qmail-pop3d"]
    sender, receiver = facts.users[1], facts.users[0]
    box = receiver.address.replace("@", "%40")
    return [
        f"swaks --server {smtp.host}:{smtp.port} --from {sender.address} --to {receiver.address} --body hello",
        f"curl pop3://{box}:{receiver.password}@{pop3.host}:{pop3.port}/1",
    ]


def queue_size(paths: Paths) -> tuple[int, int]:
    """(messages in the queue, of these not yet preprocessed), as qmail-qstat counts."""
    queue = paths.qmail / "queue"
    return _count(queue / "mess"), _count(queue / "todo")


def _count(directory: Path) -> int:
    return sum(1 for _ in directory.glob("*/*"))


def live_lines(paths: Paths, facts: Facts) -> list[str]:
    """The changing part of the foreground display."""
    messages, todo = queue_size(paths)
    top = svscan_process(paths)
    return [
        *table(service_rows(paths, facts)).split("\n"),
        f"svscan {top.pid if top else 'is down'}; queue {messages}, not preprocessed {todo}; Ctrl-C stops the stack",
    ]


def state_lines(paths: Paths, facts: Facts) -> str:
    """What `qmailctl stat` prints: the table with a column that says whether each service answers."""
    rows = [(*row, "answers") if number == 0 else row for number, row in enumerate(service_rows(paths, facts))]
    told = [rows[0]]
    for row, service in zip(rows[1:], facts.services, strict=True):
        told.append((*row, "yes" if answers(paths, service) else "no"))
    messages, todo = queue_size(paths)
    return f"{table(told)}\nmessages in queue: {messages}\nmessages in queue but not yet preprocessed: {todo}"
