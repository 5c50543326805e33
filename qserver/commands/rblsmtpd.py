"""NAME
    rblsmtpd - keep unwanted clients from a mail server (ucspi-tcp)
SYNOPSIS
    rblsmtpd [ -B ] [ -b ] [ -C ] [ -c ] [ -i ] [ -t timeout ] [ -r base ] [ -a base ] [ -W ] [ -w delay ] smtpd [ arg ... ]
DESCRIPTION
    Looks the client's address up in DNS lists, in the order of the options. Who is on one talks to rblsmtpd, which refuses
    every recipient; who is not, or is welcome, gets smtpd. A network program of ours is called in this process.
OPTIONS
    -r base   unwelcome are those with a TXT record under base: it is what they are told
    -a base   welcome are those with an address record under base
    -b -B     refuse for good (553), or for now (451, the default)
    -c -C     trouble with a list is a refusal, or not (default)
    -i        only tell: the log, and smtpd in its $RBLSMTPD
    -t n      talk for at most n seconds (60); 0: only say it
    -w n      wait n seconds before; -W: $GREETDELAY seconds
ENVIRONMENT
    RBLSMTPD         set by a rule: empty, welcome; otherwise unwelcome, for this reason; `-reason`: for good
    TCPREMOTEIP, TCP6REMOTEIP, PROTO, GREETDELAY, DNSCACHEIP
EXIT
    smtpd's; 0 the client was refused; 100 wrong call; 111 smtpd cannot be run (ucspi 10)
"""

from __future__ import annotations

import os
import time

from qserver.base import chain
from qserver.base.errors import fatal, say, usage
from qserver.base.getopt import getopt, scan_seconds
from qserver.net import blocklist
from qserver.net.blocklist import Verdict
from qserver.net.connection import Connection
from qserver.net.programs import become

SYNOPSIS = (
    "rblsmtpd [ -B ] [ -b ] [ -C ] [ -c ] [ -i ] [ -t timeout ] [ -r base ] [ -a base ] [ -W ] [ -w delay ] smtpd [ arg ... ]"
)
LETTERS = "BbCciWt:r:a:w:"
DIALOGUE = 60
GREETING = b"220 rblsmtpd.local\r\n"
LONGEST_LINE = 65536
REPLIES = dict.fromkeys((b"helo", b"ehlo", b"mail", b"rset", b"noop"), b"250 rblsmtpd.local\r\n")
QUIT = b"quit"
FAREWELL = b"221 rblsmtpd.local\r\n"


def preload() -> None:
    """Before a pool forks: look-ups."""
    from qserver.net import lookup

    lookup.preload()


def main(argv: list[str], env: dict[str, str]) -> int:
    """Refuse, or become smtpd."""
    words, verdict, timeout, env = _examine(argv, env)
    if verdict.text is not None:
        return _refuse(Connection.from_fds(0, 1), verdict.message(), timeout, env)
    return become("rblsmtpd", words, env)


def serve(argv: list[str], env: dict[str, str], connection: Connection) -> int:
    """The same in a worker: smtpd is called where it is a network program of ours, else started and waited for."""
    words, verdict, timeout, env = _examine(argv, env)
    if verdict.text is not None:
        return _refuse(connection, verdict.message(), timeout, env)
    program = chain.servable(words, env)
    if program is not None:
        return program(words, env, connection)
    try:
        pid = chain.spawn(words, env, {0: connection.rfd, 1: connection.wfd})
    except OSError as error:
        raise fatal("rblsmtpd", f"(111) unable to run: {words[0]}", error, unknown=None) from error
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 111


def _examine(argv: list[str], env: dict[str, str]) -> tuple[list[str], Verdict, int, dict[str, str]]:
    """smtpd, what is thought of the client, the patience with him, and smtpd's environment. Raises Die."""
    options, words = getopt(argv, LETTERS, f"rblsmtpd: usage: {SYNOPSIS}")
    if not words:
        raise usage("rblsmtpd", SYNOPSIS)
    ip, verdict = blocklist.address_of(env), Verdict()
    given = env.get("RBLSMTPD")
    blocklist.from_environment(given, verdict, os.fsencode(given or ""))
    bounces = closed = False
    only_tell = any(letter == "i" for letter, _ in options)
    timeout = DIALOGUE
    for letter, argument in options:
        if letter in "bB":
            bounces = letter == "b"
        elif letter in "cC":
            closed = letter == "c"
        elif letter == "t":
            timeout = scan_seconds(argument)
        elif letter == "i" or not verdict.is_open():
            continue
        elif letter in "wW":
            _delay(scan_seconds(argument) or scan_seconds(env.get("GREETDELAY", "")), ip)
        else:
            _look_up(letter, argument, ip, verdict, env, bounces=bounces, closed=closed)
            if only_tell and verdict.text is not None:
                env, verdict = _tell(ip, verdict, env), Verdict()
                verdict.accepted = True
    return words, verdict, timeout, env


def _look_up(letter: str, base: str, ip: str, verdict: Verdict, env: dict[str, str], *, bounces: bool, closed: bool) -> None:
    from qserver.net.lookup import Resolver

    if letter == "r":
        blocklist.ask_list(Resolver(env), ip, base, verdict, bounces=bounces, closed=closed)
    else:
        blocklist.ask_friends(Resolver(env), ip, base, verdict, closed=closed)


def _tell(ip: str, verdict: Verdict, env: dict[str, str]) -> dict[str, str]:
    """-i: the log and smtpd hear what the list says."""
    text = verdict.message()[4:].decode("ascii")
    say(f"rblsmtpd: {ip} pid {os.getpid()}: [RBL info] {text}")
    return {**env, "RBLSMTPD": f"[RBL info] {text}"}


def _delay(seconds: int, ip: str) -> None:
    if seconds:
        say(f"rblsmtpd: {ip} pid {os.getpid()}: greetdelay: {seconds}")
        time.sleep(seconds)


def _refuse(connection: Connection, message: bytes, timeout: int, env: dict[str, str]) -> int:
    """Say why, to the log and to the client."""
    say(f"rblsmtpd: {blocklist.address_of(env)} pid {os.getpid()}: {message.decode('ascii')}")
    try:
        if not timeout:
            connection.write(message + b"\r\n")
        else:
            _talk(connection, message + b"\r\n", time.monotonic() + timeout)
    except (OSError, TimeoutError):
        return 0
    return 0


def _talk(connection: Connection, message: bytes, deadline: float) -> None:
    """The dialogue, for a time. Raises OSError, TimeoutError."""
    connection.set_timeout(max(0.001, deadline - time.monotonic()))
    connection.write(GREETING)
    line = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return
        connection.set_timeout(left)
        block = connection.read()
        if not block:
            return
        *lines, line = (line + block).split(b"\n")
        line = line[:LONGEST_LINE]
        verbs = [words.removesuffix(b"\r").partition(b" ")[0].lower() for words in lines]
        if QUIT in verbs:
            verbs = verbs[: verbs.index(QUIT)]
            connection.write(b"".join(REPLIES.get(verb, message) for verb in verbs) + FAREWELL)
            return
        if verbs:
            connection.write(b"".join(REPLIES.get(verb, message) for verb in verbs))
