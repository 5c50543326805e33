"""NAME
    qmailctl - a whole mail host under one directory

SYNOPSIS
    qmailctl up [--home DIR] [--foreground] [--ports free] [--address ADDR] [--domain NAME] [--user NAME]
    qmailctl stat | stop | restart [NAME] | queue | log NAME [-n LINES] [-F] | doctor [--home DIR]

DESCRIPTION
    up lays out what is missing of a home (control files, queue, certificate, two test users, service directories),
    starts svscan and waits until every service answers. It prints the services, the credentials and lines to paste, and
    writes the same facts to DIR/stack.json. It needs no root. Nothing that is there already is overwritten.
    stat shows the services and whether they answer; stop ends all of them in order; restart stops and starts the stack,
    or one service; queue shows qmail-qstat and qmail-qread; log follows the log of a service in local time (-F: do not
    follow); doctor looks at layout, permissions, ports, clock, disk and DNS and says what to do.
    guard is the service that starts svscan again should it die.

OPTIONS
    --home DIR      the directory of the stack; default $QSERVER_HOME, else ./home
    --foreground    stay, show the state, and stop the stack at Ctrl-C or TERM
    --ports free    free ports instead of 2525 and 2110 (when the home is laid out)
    --address ADDR  the address to listen on; default 0, every one (when the home is laid out)
    --domain NAME   the test domain; default example.test (when the home is laid out)
    --user NAME     as root: the account that servers and deliveries take; default nobody

FILES
    DIR/stack.json  services (name, host, port, pid, tls) and users (address, password, maildir); mode 0600
    DIR/qmail       the qmail home; DIR/service, DIR/log, DIR/users, DIR/run

EXIT
    0; 100 wrong call or nothing laid out there; 111 the stack did not come up, or doctor found something
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time

from qmail.stack import doctor, follow, process, status
from qmail.stack.facts import Facts, Paths, load, save
from qmail.stack.layout import Wish, command, lay_out
from qserver.base import chain
from qserver.base.errors import TEMPORARY, Die, fatal

PROG = "qmailctl"
REDRAW = 1.0


def main(argv: list[str], env: dict[str, str]) -> int:
    """Run one subcommand."""
    options = _parser(env).parse_args(argv[1:])
    paths = Paths(_usable_home(options.home))
    try:
        return int(SUBCOMMANDS[options.subcommand](paths, options))
    except BlockingIOError:
        raise fatal(PROG, f"another qmailctl is at work in {paths.home}") from None
    except subprocess.CalledProcessError as error:
        raise fatal(PROG, f"{os.path.basename(error.cmd[0])} exited {error.returncode}") from error
    except LookupError as error:
        raise fatal(PROG, str(error.args[0]), code=100) from error
    except OSError as error:
        raise fatal(PROG, f"{error.filename or paths.home}", error, unknown=None) from error


def _usable_home(home: str) -> str:
    """A name that users/assign can hold, where a colon and a newline end a field. Raises Die."""
    if not home:
        raise Die(f"{PROG}: fatal: --home is empty", 100)
    if bad := [name for octet, name in ((":", "colon"), ("\n", "newline")) if octet in os.path.abspath(home)]:
        raise Die(f"{PROG}: fatal: a home's path must have no {' and no '.join(bad)}: {home!r}", 100)
    return home


class _Parser(argparse.ArgumentParser):
    """Argument errors in the project's form and with its code."""

    def error(self, message: str) -> None:  # type: ignore[override]
        synopsis = self.format_usage().removeprefix("usage: ").strip()
        raise Die(f"{PROG}: usage: {synopsis}\n{PROG}: fatal: {message}", 100)


def _parser(env: dict[str, str]) -> argparse.ArgumentParser:
    common = _Parser(add_help=False)
    common.add_argument("--home", default=env.get("QSERVER_HOME") or "home")
    parser = _Parser(prog=PROG, parents=[common], add_help=True)
    subcommands = parser.add_subparsers(dest="subcommand", required=True, parser_class=_Parser)
    up = subcommands.add_parser("up", parents=[common])
    up.add_argument("--foreground", action="store_true")
    up.add_argument("--ports", choices=["high", "free"], default="high")
    up.add_argument("--address", default="0")
    up.add_argument("--domain", default="example.test")
    up.add_argument("--user")
    for name in ("stat", "stop", "queue", "doctor", "guard"):
        subcommands.add_parser(name, parents=[common])
    subcommands.add_parser("restart", parents=[common]).add_argument("name", nargs="?")
    log = subcommands.add_parser("log", parents=[common])
    log.add_argument("name")
    log.add_argument("-n", type=int, default=follow.LAST_LINES)
    log.add_argument("-F", action="store_true", dest="once")
    return parser


def _interruptible() -> None:
    """Ctrl-C and TERM as an exception, so that what was begun is undone."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def _up(paths: Paths, options: argparse.Namespace) -> int:
    _interruptible()
    started = False
    try:
        with process.locked(paths):
            facts = lay_out(paths, Wish(options.domain, options.address, options.ports == "free", options.user))
            if process.svscan_process(paths) is None:
                started = True
                _start(paths, facts)
            else:
                process.wait_ready(paths, facts)
            save(paths, facts)
        print(status.summary(paths, facts), flush=True)
        if options.foreground:
            _stay(paths, facts)
    except KeyboardInterrupt:
        if started:
            _stop_quietly(paths)
        return 0 if options.foreground else TEMPORARY
    except process.NotReady as error:
        if started:
            _stop_quietly(paths)
        raise fatal(PROG, str(error)) from error
    if options.foreground:
        _stop_quietly(paths)
    return 0


def _start(paths: Paths, facts: Facts) -> None:
    """Start svscan over a home where nothing of an earlier stack is left running."""
    for service in facts.services:
        if service.port and not doctor.port_is_free(service.host, service.port):
            raise process.NotReady(
                f"port {service.port} is in use: stop what has it, or lay out another home with --ports free"
            )
    if process.family(paths):
        process.stop(paths)
    process.start_svscan(paths)
    process.wait_ready(paths, facts)


def _stop_quietly(paths: Paths) -> None:
    """Stop the stack; a second Ctrl-C does not leave half of it behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    print("\nstopping", flush=True)
    process.stop(paths)
    print("stopped", flush=True)


def _stay(paths: Paths, facts: Facts) -> None:
    """Show the state until interrupted: a table drawn anew on a terminal, a line per change otherwise."""
    terminal = sys.stdout.isatty()
    print(flush=True)
    last: list[str] = []
    drawn = 0
    try:
        while True:
            lines = status.live_lines(paths, facts)
            if terminal:
                sys.stdout.write((f"\033[{drawn}F" if drawn else "") + "".join(f"\033[2K{line}\n" for line in lines))
                sys.stdout.flush()
                drawn = len(lines)
            else:
                last = _print_changes(paths, facts, last)
            time.sleep(REDRAW)
    except KeyboardInterrupt:
        return


def _print_changes(paths: Paths, facts: Facts, last: list[str]) -> list[str]:
    """Plain form: one line for each service whose pid changed since the last look."""
    now = [f"{service.name} pid {process.service_pid(paths, service.name) or 'down'}" for service in facts.services]
    for line in now:
        if line not in last:
            print(line, flush=True)
    return now


def _facts(paths: Paths) -> Facts:
    facts = load(paths)
    if facts is None:
        raise Die(f"{PROG}: fatal: no stack in {paths.home}: run qmailctl up", 100)
    return facts


def _stat(paths: Paths, options: argparse.Namespace) -> int:
    print(status.state_lines(paths, _facts(paths)))
    return 0


def _stop(paths: Paths, options: argparse.Namespace) -> int:
    _facts(paths)
    with process.locked(paths):
        killed = process.stop(paths)
    if killed:
        print(f"{PROG}: warning: {killed} processes had to be killed", file=sys.stderr)
    return 0


def _restart(paths: Paths, options: argparse.Namespace) -> int:
    facts = _facts(paths)
    if options.name is None:
        with process.locked(paths):
            process.stop(paths)
        argv = [command(PROG), "up", "--home", str(paths.home)]
        return subprocess.run(argv, env=chain.environment(), check=False).returncode
    service = next((s for s in facts.services if s.name == options.name), None)
    if service is None:
        raise Die(f"{PROG}: fatal: no such service: {options.name}", 100)
    before = process.service_pid(paths, service.name)
    process.send_commands(paths, b"tu", [service.name])
    process.wait_until(lambda: process.service_pid(paths, service.name) != before, 10)
    try:
        process.wait_ready(paths, Facts(facts.domain, [service]))
    except process.NotReady as error:
        raise fatal(PROG, str(error)) from error
    save(paths, facts)
    print(f"{service.name} pid {service.pid}")
    return 0


def _queue(paths: Paths, options: argparse.Namespace) -> int:
    _facts(paths)
    env = {**chain.environment(), "QMAILHOME": str(paths.qmail)}
    tools = ("qmail-qstat", "qmail-qread")
    return max(subprocess.run([command(tool)], env=env, check=False).returncode for tool in tools)


def _log(paths: Paths, options: argparse.Namespace) -> int:
    try:
        for line in follow.lines(paths.log / options.name, follow=not options.once, last=options.n):
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
    except FileNotFoundError:
        names = " ".join(sorted(entry.name for entry in paths.log.glob("*"))) or "none"
        raise Die(f"{PROG}: fatal: no log of {options.name}; there are: {names}", 100) from None
    return 0


def _doctor(paths: Paths, options: argparse.Namespace) -> int:
    findings = doctor.examine(paths, _facts(paths))
    for finding in findings:
        print(f"ok    {finding.what}" if finding.good else f"WRONG {finding.what}: no\n      {finding.advice}")
    return 0 if all(finding.good for finding in findings) else 111


def _guard(paths: Paths, options: argparse.Namespace) -> int:
    return process.guard(paths)


SUBCOMMANDS = {
    "up": _up,
    "stat": _stat,
    "stop": _stop,
    "restart": _restart,
    "queue": _queue,
    "log": _log,
    "doctor": _doctor,
    "guard": _guard,
}
