"""NAME
    tcpserver - accept TCP connections and run a program for each (ucspi-tcp)
SYNOPSIS
    tcpserver [ --exec ] [ --proxy ] [ --reuseport ] [ --sessions n ] [ -146UXpPhHrRoOdDqQv ] [ -c limit ] [ -x rules.cdb ]
              [ -B banner ] [ -g gid ] [ -u uid ] [ -b backlog ] [ -l localname ] [ -t timeout ] [ -I interface ]
              host port program [ arg ... ]
DESCRIPTION
    Listens on host and port; for each connection program runs with descriptors 0 and 1 = the connection and TCPREMOTEIP
    and the like in its environment. host 0 means every local address; port may be a name or 0, which lets the kernel
    choose. The connections are taken by a pool of workers: a network program of ours is called in its worker, any other
    program is started as a process. SIGTERM ends the server; sessions under way go on to their end.
OPTIONS
    -q -Q -v      quiet; errors (default); errors and status lines
    -c n          at most n sessions at a time (40, no more than 65536); more connections wait
    -x rules.cdb  rules made by tcprules; looked up afresh for every connection
    -X            allow everything when the rules file does not exist
    -B text       write text as soon as connected
    -b n          backlog of the listening socket (20)
    -u uid -g gid become that user and group after binding; -U takes them from $UID and $GID
    -1            print the address and port on descriptor 1
    -4 -6         prefer IPv4 or IPv6 when host is a name; -4 with host 0: IPv4 only
    -I interface  scope of a link-local host
    -h -H         look up the remote name (default), or not; -p: forget it unless it has the remote address; -P: do not
    -r -R         ask the remote host's identd, or not (default); -t n: for at most n seconds (26)
    -l name       the local name, instead of looking it up
    -o -O         leave IP options, or switch them off (default)
    -d -D         delay small packets (default), or do not
    --exec        start a process for every connection, even if program is ours
    --proxy       every peer that the rules allow speaks the PROXY protocol (version 1 or 2) first; a rule with the setting
                  PROXY says so of single peers
    --reuseport   share the port with other servers that do so
    --sessions n  replace a worker after n sessions (1000)
ENVIRONMENT
    UID, GID                  with -U
    MAXCONIP                  at most so many sessions of one address at a time; a rule may set it too
    QSERVER_WORKER_SESSIONS   as --sessions
    QSERVER_EXEC              1: as --exec
    LISTEN_PID, LISTEN_FDS    listening sockets to use instead of host and port
    DNSCACHEIP                servers for look-ups
DIAGNOSTICS
    With -v: status: N/LIMIT after every accept and end; pid PID from IP; ok or deny PID LOCALHOST:LOCALIP:LOCALPORT
    REMOTEHOST:REMOTEIP:REMOTEINFO:REMOTEPORT; end PID status STATUS, the raw wait status (exit code * 256, or a signal).
    drop: (110) unable to read: FILE      the rules; the connection is closed
    drop: (110) bad PROXY header from: IP
    drop: (111) unable to accept          no descriptors are left; the connection waits, the worker tries again in a second
    drop: (111) unable to fork            the connection is closed (said by the master: it tries again in a second)
    fatal: (111) unable to run: PROGRAM   for one connection; the server goes on
    error: (111) internal bug in PROGRAM  a program of ours failed; the connection is closed and the worker replaced
    warning: ip connection limit of N exceeded for: IP
EXIT
    0 after SIGTERM; 100 wrong call; 111 trouble. Of a session: 100 denied, 110 dropped, 111 program cannot run.
"""

from __future__ import annotations

import errno
import os

from qserver.base import signals
from qserver.base.errors import Die, fatal, say
from qserver.base.files import detach
from qserver.base.privileges import become
from qserver.net import bindings, options, pool, programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from qserver.net.bindings import Listener
    from qserver.net.options import Options

PROG = "tcpserver"


def main(argv: list[str], env: dict[str, str]) -> int:
    """Serve until SIGTERM."""
    asked = options.parse(argv, env)
    signals.handle(signals.SIGTERM, _leave)
    signals.ignore(signals.SIGPIPE)
    try:
        listeners = _open(asked, env)
        program = programs.choose(asked.program, env, asked.always_exec)
        detach()
    except Die as death:
        if asked.level == options.QUIET:
            death.text = ""
        raise
    if asked.names or asked.local_name is None:
        from qserver.net import lookup

        lookup.preload()
    return pool.serve(PROG, asked, env, listeners, program)


def _leave(_number: int, _frame: object) -> NoReturn:
    """SIGTERM before the pool is there: there is nothing to wait for."""
    os._exit(0)


def _open(asked: Options, env: dict[str, str]) -> list[Listener]:
    """Bind, listen, take the ids, print the address (-1). Raises Die."""
    listeners, shown = bindings.open_all(asked, options.TCPSERVER, env)
    _take_ids(asked)
    if asked.print_address:
        say(f"{shown} : {listeners[0].port}", 1)
    return listeners


def _take_ids(asked: Options) -> None:
    """-g, then -u; 0 is no change. Raises Die."""
    if asked.gid:
        _become("gid", os.getuid(), asked.gid, [asked.gid])
    if asked.uid:
        _become("uid", asked.uid, os.getgid(), os.getgroups())


def _become(what: str, uid: int, gid: int, groups: list[int]) -> None:
    try:
        become(uid, gid, groups)
    except OverflowError:
        raise fatal(PROG, f"(111) unable to set {what}", errno.EINVAL, unknown=None) from None
    except OSError as error:
        raise fatal(PROG, f"(111) unable to set {what}", error, unknown=None) from error
