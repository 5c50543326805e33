"""`qmailctl doctor`: looks at everything a stack stands on and says what to do about what it finds."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from qmail.queue.names import split_of
from qmail.stack.facts import Facts, Paths
from qmail.stack.layout import command
from qmail.stack.process import answers, service_pid, svscan_process

LEAST_FREE = 0.05
DNS_PATIENCE = 2.0


class Finding(NamedTuple):
    """One thing looked at: good or not, and if not, what to do."""

    good: bool
    what: str
    advice: str = ""


def examine(paths: Paths, facts: Facts) -> list[Finding]:
    """All findings, in the order of the checks."""
    return [finding for check in CHECKS for finding in check(paths, facts)]


def check_layout(paths: Paths, facts: Facts) -> Iterator[Finding]:
    """Directories, control files and compiled data bases."""
    for name in ("control/me", "control/locals", "control/rcpthosts", "users/authuser", "users/cdb"):
        path = paths.qmail / name
        yield Finding(path.is_file(), f"{path} exists", "run: qmailctl up (it writes what is missing)")
    for source, compiled in (("users/assign", "users/cdb"), ("control/rules.smtpd.txt", "control/rules.smtpd.cdb")):
        text, data = paths.qmail / source, paths.qmail / compiled
        stale = text.exists() and data.exists() and text.stat().st_mtime_ns > data.stat().st_mtime_ns
        yield Finding(not stale, f"{compiled} is as new as {source}", f"{source} was edited: compile it again")
    missing = _missing_queue_directories(paths)
    yield Finding(not missing, "the queue is complete", f"missing: {' '.join(missing[:5])}: run: qmailctl up")


def _missing_queue_directories(paths: Paths) -> list[str]:
    queue = paths.qmail / "queue"
    if not queue.is_dir():
        return [str(queue)]
    split = split_of(str(queue))
    kinds = ("mess", "intd", "todo", "info", "local", "remote")
    wanted = [f"{kind}/{number}" for kind in kinds for number in range(split)] + ["pid", "bounce", "lock"]
    return [name for name in wanted if not (queue / name).is_dir()]


def check_permissions(paths: Paths, facts: Facts) -> Iterator[Finding]:
    """Secrets closed, run scripts executable, homes not writable by all."""
    for secret in (paths.facts, paths.qmail / "users/authuser", paths.ssl / "localhost.key"):
        mode = secret.stat().st_mode & 0o777 if secret.exists() else 0
        yield Finding(not mode & 0o077, f"{secret} is closed to others", f"run: chmod 600 {secret}")
    for service in facts.services:
        script = paths.service / service.name / "run"
        yield Finding(os.access(script, os.X_OK), f"{script} can be executed", f"run: chmod +x {script}")
    for user in facts.users:
        home = Path(user.maildir).parent
        mode = home.stat().st_mode if home.exists() else 0o002
        yield Finding(not mode & 0o1002, f"{home} accepts deliveries", f"run: chmod o-w,-t {home}")


def check_ports(paths: Paths, facts: Facts) -> Iterator[Finding]:
    """Every service answers, or its port is free for it."""
    for service in facts.services:
        if service_pid(paths, service.name):
            log = paths.log / service.name / "current"
            yield Finding(answers(paths, service), f"{service.name} answers", f"look at {log}")
        elif service.port:
            advice = f"another program has port {service.port}: stop it, or start with --ports free"
            yield Finding(port_is_free(service.host, service.port), f"port {service.port} is free", advice)
    running = svscan_process(paths) is not None
    yield Finding(running, "svscan runs", "run: qmailctl up")


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could bind there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def check_clock(paths: Paths, facts: Facts) -> Iterator[Finding]:
    """The clock agrees with the file system and is past this release."""
    probe = paths.run / ".clock"
    probe.write_bytes(b"")
    skew = abs(probe.stat().st_mtime - time.time())
    probe.unlink()
    yield Finding(skew < 2, "clock and file system agree", f"they differ by {skew:.0f} s: messages look old or unborn")
    yield Finding(time.time() > 1_760_000_000, "the clock is set", "set the date: retry times depend on it")


def check_disk(paths: Paths, facts: Facts) -> Iterator[Finding]:
    """Space and inodes for the queue."""
    disk = shutil.disk_usage(paths.home)
    free = disk.free / disk.total
    yield Finding(free > LEAST_FREE, f"{free:.0%} of the disk is free", "make room: qmail-queue answers 451 when full")
    inodes = os.statvfs(paths.home)
    enough = inodes.f_files == 0 or inodes.f_favail / inodes.f_files > LEAST_FREE
    yield Finding(enough, "enough inodes are free", "each message takes three files: make room")


def check_dns(paths: Paths, facts: Facts) -> Iterator[Finding]:
    """A resolver answers, which only mail to other hosts needs."""
    import dns.exception
    import dns.resolver

    good = True
    try:
        dns.resolver.Resolver().resolve(".", "NS", lifetime=DNS_PATIENCE)
    except (dns.exception.DNSException, OSError):
        good = False
    advice = "mail to other hosts waits in the queue; local mail is not concerned. See /etc/resolv.conf or DNSCACHEIP"
    yield Finding(good, "DNS answers", advice)


def check_commands(paths: Paths, facts: Facts) -> Iterator[Finding]:
    """The commands of the run scripts are where the scripts look."""
    for name in ("svscan", "supervise", "tcpserver", "qmail-start", "multilog"):
        path = command(name)
        yield Finding(os.access(path, os.X_OK), f"{path} can be run", "run: scripts/setup")
    link = paths.qmail / "bin"
    yield Finding(link.exists(), f"{link} leads to the commands", "run: qmailctl up")


CHECKS = (check_commands, check_layout, check_permissions, check_ports, check_clock, check_disk, check_dns)
