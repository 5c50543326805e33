"""Each workload: what is run, against whom, and the goal its ratio is held against."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench import clients, disks, logs, rules, servers, services, tls
from bench.home import Home, fill_maildir
from bench.measure import Contender, Row, interleave
from bench.memory import memory_of
from bench.plan import Figures, Plan, compare

PYTHON = str(servers.BIN / "python")


def connect_rate(count: int, total: int, port: int, say: bytes = b"") -> float:
    """Connections per second of `count` clients."""
    return clients.parallel(count, total, clients.connections(port, say))


def pop3_rate(count: int, total: int, port: int) -> float:
    """POP3 sessions per second of `count` clients."""
    return clients.parallel(count, total, clients.pop3_sessions(port, "joe", "secret"))


def external(plan: Plan) -> Figures:
    """Connections per second with an external program, ours against Debian's tcpserver."""
    for program, say in (("/bin/true", b""), ("/bin/cat", b"0123456789abcde\n")):
        with ExitStack() as stack:
            ours, _ = stack.enter_context(servers.tcpserver([program], ours=True))
            theirs, _ = stack.enter_context(servers.tcpserver([program], ours=False))
            for count, goal in ((1, 1.0), (10, 0.8)):
                total = plan.count(1000)
                yield compare(
                    plan,
                    f"connections, {program}, {count} clients",
                    "conn/s",
                    partial(connect_rate, count, total, ours, say),
                    "tcpserver (C)",
                    partial(connect_rate, count, total, theirs, say),
                    goal,
                )


def smtp_null(plan: Plan) -> Figures:
    """SMTP sessions with the black-hole queue against bare connections of C tcpserver with /bin/true."""
    servers.peer("smtp-source")
    with ExitStack() as stack:
        home = stack.enter_context(Home())
        ours, _ = stack.enter_context(
            servers.tcpserver(["qmail-smtpd"], ours=True, QMAILHOME=home.path, QMAILQUEUE="/dev/null", RELAYCLIENT="")
        )
        theirs, _ = stack.enter_context(servers.tcpserver(["/bin/true"], ours=False))
        total = plan.count(3000)
        yield compare(
            plan,
            "SMTP sessions in-process, null queue, 10 clients / connections of /bin/true",
            "1/s",
            partial(clients.smtp_source, ours, 10, total),
            "tcpserver (C)",
            partial(connect_rate, 10, total, theirs),
            1.5,
        )


def in_process(plan: Plan) -> Figures:
    """Sessions with an in-process program (an echo; qmail-popup, greeting and QUIT) against C tcpserver with cat."""
    with ExitStack() as stack:
        echo = stack.enter_context(tls.measuring("tcpserver", "echo", ("", "")))
        ours, _ = stack.enter_context(servers.tcpserver(["qmail-popup", "h", "true", "true"], ours=True))
        theirs, _ = stack.enter_context(servers.tcpserver(["/bin/cat"], ours=False))
        for count in (1, 10):
            total = plan.count(6000)
            yield compare(
                plan,
                f"sessions, in-process echo / cat, {count} clients",
                "1/s",
                partial(connect_rate, count, total, echo, b"0123456789abcde\n"),
                "tcpserver (C) cat",
                partial(connect_rate, count, total, theirs, b"0123456789abcde\n"),
                5.0,
            )
            yield compare(
                plan,
                f"sessions, qmail-popup / cat, {count} clients",
                "1/s",
                partial(connect_rate, count, total, ours, b"QUIT\r\n"),
                "tcpserver (C) cat",
                partial(connect_rate, count, total, theirs, b"QUIT\r\n"),
            )


def disk(plan: Plan) -> Figures:
    """What the disk gives: every queue stands on these."""
    return disks.figures(disks.place(), plan.rounds, plan.count(200))


def smtp_durable(plan: Plan) -> Figures:
    """Messages accepted durably, 1 KB: ours into the queue, Postfix into its hold queue."""
    servers.peer("smtp-source")
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=disks.place())))
        top.chmod(0o755)
        theirs = stack.enter_context(servers.postfix(top / "postfix"))
        home = stack.enter_context(Home())
        ours, _ = stack.enter_context(servers.tcpserver(["qmail-smtpd"], ours=True, QMAILHOME=home.path, RELAYCLIENT=""))
        shapes = ((1, False, None), (10, False, 1.5), (50, False, None), (10, True, None))
        for sessions, keep, goal in shapes:
            total = plan.count(400 if sessions == 1 else 2000)
            shape = f"{total // sessions} a session" if keep else "one a session"
            yield compare(
                plan,
                f"messages accepted durably, {shape}, {sessions} clients",
                "msg/s",
                partial(clients.smtp_source, ours, sessions, total, keep=keep),
                "Postfix (hold)",
                partial(clients.smtp_source, theirs, sessions, total, keep=keep),
                goal,
            )  # neither queue is emptied in between: a burst of removals slows the creations that follow it


def smtp_aiosmtpd(plan: Plan) -> Figures:
    """Messages thrown away, 1 KB: ours with the null queue, aiosmtpd's Sink."""
    servers.peer("smtp-source")
    with ExitStack() as stack:
        theirs = stack.enter_context(servers.aiosmtpd())
        home = stack.enter_context(Home())
        ours, _ = stack.enter_context(
            servers.tcpserver(["qmail-smtpd"], ours=True, QMAILHOME=home.path, QMAILQUEUE="/dev/null", RELAYCLIENT="")
        )
        for keep in (False, True):
            total = plan.count(2000)
            yield compare(
                plan,
                f"messages discarded, {'200 a session' if keep else 'one a session'}, 10 clients",
                "msg/s",
                partial(clients.smtp_source, ours, 10, total, keep=keep),
                "aiosmtpd Sink",
                partial(clients.smtp_source, theirs, 10, total, keep=keep),
            )


def drain(plan: Plan) -> Figures:
    """Queue drain: messages queued before, qmail-start, time to the last one in the Maildir."""
    total = plan.count(1000)

    def once() -> float:
        with Home() as home:
            home.inject(total)
            return home.drain(total)

    contender = Contender("qserver", once)
    interleave([contender], plan.rounds)
    yield Row("queue drain to a Maildir, 1 KB", "msg/s", contender, None, None)


def pop3(plan: Plan) -> Figures:
    """POP3 sessions on a Maildir of ten messages: ours against Dovecot."""
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=disks.place())))
        top.chmod(0o755)
        maildir = top / "Maildir"
        fill_maildir(maildir, 10)
        theirs = stack.enter_context(servers.dovecot(top / "dovecot", maildir, "secret"))
        home = stack.enter_context(Home())
        home.pop3_user("joe", "secret", top)
        chain = ["qmail-popup", "mail.example.test", "qmail-authuser", "true", "qmail-pop3d", "Maildir"]
        ours, _ = stack.enter_context(servers.tcpserver(chain, ours=True, options=["-D"], QMAILHOME=home.path))
        for count in (1, 10):
            total = plan.count(500)
            yield compare(
                plan,
                f"POP3 sessions, 10 messages, {count} clients",
                "1/s",
                partial(pop3_rate, count, total, ours),
                "Dovecot",
                partial(pop3_rate, count, total, theirs),
            )


@contextmanager
def idle_sessions(port: int, count: int) -> Iterator[None]:
    """Connections that have greeted and said EHLO, then stay silent."""
    with ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(socket.create_connection((servers.HOST, port), timeout=30))
            client.recv(512)
            client.sendall(b"EHLO x\r\n")
            client.recv(512)
        yield


def memory(plan: Plan) -> Figures:
    """PSS per idle SMTP session: growth of the whole process tree over 100 sessions."""
    sessions = 100
    with ExitStack() as stack:
        home = stack.enter_context(Home())
        port, pid = stack.enter_context(servers.tcpserver(["qmail-smtpd"], ours=True, QMAILHOME=home.path, RELAYCLIENT=""))

        def growth() -> float:
            with idle_sessions(port, 1):
                before = memory_of(pid)
            with idle_sessions(port, sessions):
                return (memory_of(pid) - before) / (sessions - 1)

        contender = Contender("qserver", growth)
        contender.figures.append(growth())
        yield Row("memory per idle SMTP session (100)", "KiB PSS", contender, None, 1331, goal_is_at_most=True)


ONE_SHOTS: tuple[tuple[str, list[str]], ...] = (
    ("setuidgid", ["root", "/bin/true"]),
    ("envuidgid", ["root", "/bin/true"]),
    ("envdir", ["{empty}", "/bin/true"]),
    ("softlimit", ["-o", "100", "/bin/true"]),
    ("setlock", ["{empty}/../lock", "/bin/true"]),
    ("svc", ["-u", "{empty}"]),
    ("svok", ["{empty}"]),
    ("svstat", ["{empty}"]),
    ("qmail-queue", []),
)


def starts(plan: Plan) -> Figures:
    """Start time of each one-shot command over a bare `python -I -c pass`: the difference, in ms."""
    with tempfile.TemporaryDirectory() as top, Home() as home:
        empty = Path(top, "empty")
        empty.mkdir()
        env = servers.environment(QMAILHOME=home.path)
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

        def milliseconds(argv: list[str]) -> float:
            repeats = plan.count(20)
            start = time.perf_counter()
            for _ in range(repeats):
                subprocess.run(argv, env=env, check=False, **quiet)  # type: ignore[call-overload]
            return (time.perf_counter() - start) / repeats * 1000

        for name, words in ONE_SHOTS:
            argv = [str(servers.BIN / name), *(word.format(empty=empty) for word in words)]
            ours = Contender("qserver", partial(milliseconds, argv))
            bare = Contender("python -I -c pass", partial(milliseconds, [PYTHON, "-I", "-c", "pass"]))
            interleave([ours, bare], plan.rounds)
            over = Contender("qserver", lambda: 0.0, [a - b for a, b in zip(ours.figures, bare.figures, strict=True)])
            yield Row(f"start of {name} over a bare python -I", "ms", over, None, 10.0, goal_is_at_most=True)


WORKLOADS: dict[str, Callable[[Plan], Figures]] = {
    "external": external,
    "in-process": in_process,
    "smtp-null": smtp_null,
    "disk": disk,
    "smtp-durable": smtp_durable,
    "smtp-aiosmtpd": smtp_aiosmtpd,
    "drain": drain,
    "pop3": pop3,
    "logs": logs.figures,
    "rules": rules.compiling,
    "rules-serving": rules.serving,
    "memory": memory,
    "starts": starts,
    "idle": services.idle,
    "reactions": services.reactions,
    "kills": services.kills,
    "tls": tls.figures,
}
