"""NAME
    tcpclient - connect, and run a program with the connection (ucspi-tcp)
SYNOPSIS
    tcpclient [ -46hHrRdDqQv ] [ -i iplocal ] [ -p portlocal ] [ -T timeoutconn ] [ -l localname ] [ -t timeoutinfo ]
              [ -I interface ] host port program [ arg ... ]
DESCRIPTION
    Connects to host (0 is this one) and port, sets TCPREMOTEIP and the like, and becomes program, with descriptor 6 to
    read from the connection and 7 to write to it.
OPTIONS
    -q -Q -v      quiet; errors (default); also `connected to IP port PORT`
    -4 -6         try IPv4 or IPv6 addresses first
    -i ip -p n    our address and port    -I interface  scope of a link-local address
    -T x+y        x seconds for every address (2), then y (58) for those that did not answer
    -h -H         look up the remote name (default), or not
    -r -R         ask the remote host's identd (default), or not; -t n: for at most n seconds (26)
    -l name       the local name, instead of looking it up
    -d -D         delay small packets (default), or do not
ENVIRONMENT
    DNSCACHEIP    servers for look-ups
EXIT
    program's; 100 wrong call; 111 no connection, or trouble (ucspi 7)
"""

from __future__ import annotations

import os

from qserver.base import chain
from qserver.base.errors import Die, say
from qserver.base.getopt import getopt, scan_number, scan_seconds
from qserver.net import addresses, bindings, connecting, environ
from qserver.net.names import find_names
from qserver.net.programs import become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PROG = "tcpclient"
SYNOPSIS = (
    "tcpclient [ -46hHrRdDqQv ] [ -i iplocal ] [ -p portlocal ] [ -T timeoutconn ] [ -l localname ] [ -t timeoutinfo ]"
    " [ -I interface ] host port program [ arg ... ]"
)
USAGE = f"{PROG}: usage: {SYNOPSIS}"
LETTERS = "46hHrRdDqQvi:p:T:l:t:I:"
READ, WRITE = 6, 7
"""The program's descriptors."""


class Options:
    """What the command line asks for."""

    def __init__(self) -> None:
        self.level = "Q"
        self.family = ""
        self.names = True
        self.info = True
        self.no_delay = False
        self.ip = ""
        self.port = 0
        self.patience = (2, 58)
        self.local_name: str | None = None
        self.info_timeout = 26
        self.interface = ""


def main(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Connect, then become the program."""
    found, words = getopt(argv, LETTERS, USAGE)
    options = Options()
    for letter, argument in found:
        _apply(options, letter, argument)
    try:
        _run(options, words, env)
    except Die as death:
        if options.level == "q":
            death.text = ""
        raise


def _apply(options: Options, letter: str, argument: str) -> None:
    """Take one option. Raises Die."""
    if letter in "qQv":
        options.level = letter
    elif letter in "46":
        options.family = letter
    elif letter in "hH":
        options.names = letter == "h"
    elif letter in "rR":
        options.info = letter == "r"
    elif letter in "dD":
        options.no_delay = letter == "D"
    elif letter == "i":
        packed = addresses.parse(argument)
        if packed is None:
            raise Die("" if options.level == "q" else USAGE, 100)
        options.ip = addresses.compact(packed)
    elif letter == "T":
        first, _, second = argument.partition("+")
        options.patience = scan_seconds(first), scan_seconds(second)
    elif letter == "l":
        options.local_name = argument
    elif letter == "I":
        options.interface = argument
    else:
        setattr(options, {"p": "port", "t": "info_timeout"}[letter], (scan_seconds if letter == "t" else scan_number)(argument))


def _run(options: Options, words: list[str], env: dict[str, str]) -> NoReturn:
    if not words or not words[0] or len(words) < 2:
        raise Die(USAGE, 100)
    port = bindings.port_number(PROG, words[1])
    if len(words) < 3:
        raise Die(USAGE, 100)
    found = connecting.resolve(PROG, words[0], options.family, env)
    local = connecting.Local(options.ip, options.port, options.interface, options.no_delay)
    try:
        made = connecting.connect(PROG, found, port, options.patience, local)
    except connecting.Unreachable as trouble:
        raise Die(f"{PROG}: drop: (110) {trouble}", 111) from trouble
    server = connecting.visitor(made)
    if options.level == "v":
        say(f"{PROG}: connected to {server.ip} port {server.port}")
    find_names(options, server, env)
    start = {name: value for name, value in env.items() if name not in environ.UNCERTAIN}
    fd = made.detach()
    for number in (READ, WRITE):
        if number != fd:
            os.dup2(fd, number)
    if fd in (READ, WRITE):
        os.set_inheritable(fd, True)
    else:
        os.close(fd)
    become(PROG, words[2:], environ.for_visitor(start, server, []), env.get("PATH", chain.DEFAULT_PATH))
