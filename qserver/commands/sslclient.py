"""NAME
    sslclient - connect with TLS, and run a program with the connection (ucspi-ssl)
SYNOPSIS
    sslclient [ -463hHrRdDqQveEsSnNxXmM ] [ -i localip ] [ -p localport ] [ -T timeoutconn ] [ -l localname ]
              [ -t timeoutinfo ] [ -I interface ] [ -a cafile ] [ -A cadir ] [ -c certfile ] [ -z ciphers ] [ -k keyfile ]
              [ -K keypassfile ] [ -V verifydepth ] [ -w progtimeout ] host port program [ arg ... ]
DESCRIPTION
    Connects to host (0 is this one) and port, speaks TLS, and runs program with descriptor 6 to read what the server says
    and 7 to write to it. Ends when both sides have said all they had to say.
OPTIONS
    -q -Q -v      quiet; errors (default); also `tls connected to: IP port: PORT`
    -4 -6         try IPv4 or IPv6 addresses first
    -i ip -p n    our address and port    -I interface  scope of a link-local address
    -T x+y        x seconds for every address (2), then y (58) for those that did not answer; the sum for the handshake
    -h -H         look up the remote name (default), or not
    -r -R         ask the remote host's identd, or not (default); -t n: for at most n seconds (26)
    -l name       the local name, instead of looking it up
    -d -D         delay small packets, or do not (default)
    -x -X         verify the server's certificate (default) by -a cafile and -A cadir, or do not
    -n -N         its name must be host (default), or may be any
    -m -M         tell the server the name of host (SNI), or do not (default)
    -c -k         our certificate and key; the key's password from descriptor 3 with -3, from a file with -K
    -z ciphers    a colon list; elements that begin with TLS_ are suites of TLS 1.3
    -e -E         set the TCP variables too, or do not (default); -s -S: the mod_ssl variables
    -w n          give up after n seconds without traffic (3600)
    -V n          at most n certificates between the server's and the authority's (the library's limit)
EXIT
    program's (111 if it was killed); 100 wrong call; 110 no connection, or a server one does not trust; 111 trouble (ucspi 8)
"""

from __future__ import annotations

import os

from qserver.base import chain, signals
from qserver.base.errors import Die, fatal, say
from qserver.base.getopt import getopt, scan_number, scan_seconds
from qserver.net import addresses, bindings, connecting, environ
from qserver.net.names import find_names
from qserver.tls import contexts, variables
from qserver.tls.contexts import Keys, LoadError
from qserver.tls.library import Trouble, Unverified
from qserver.tls.pump import Pump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.net.visitor import Visitor
    from qserver.tls.library import Context

PROG = "sslclient"
SYNOPSIS = (
    "sslclient [ -463hHrRdDiqQveEsSnNxX ] [ -i localip ] [ -p localport ] [ -T timeoutconn ] [ -l localname ]"
    " [ -t timeoutinfo ] [ -I interface ] [ -a cafile ] [ -A cadir ] [ -c certfile ] [ -z ciphers ] [ -k keyfile ]"
    " [ -K keypassfile ] [ -V verifydepth ] [ -w progtimeout ] host port program [ arg ... ]"
)
USAGE = f"{PROG}: usage: {SYNOPSIS}"
LETTERS = "463hHrRdDqQveEsSnNxXmMi:p:T:l:t:I:a:A:c:z:k:K:V:w:"
READ, WRITE = 6, 7
"""The program's descriptors."""
PASSWORD_FD = 3
ERROR, DROP = 111, 110

FLAGS: dict[str, tuple[str, object]] = {
    "q": ("level", "q"), "Q": ("level", "Q"), "v": ("level", "v"),
    "4": ("family", "4"), "6": ("family", "6"),
    "3": ("password_fd", True),
    "h": ("names", True), "H": ("names", False),
    "r": ("info", True), "R": ("info", False),
    "d": ("no_delay", False), "D": ("no_delay", True),
    "e": ("tcp_variables", True), "E": ("tcp_variables", False),
    "s": ("tls_variables", True), "S": ("tls_variables", False),
    "n": ("compare", True), "N": ("compare", False),
    "x": ("verify", True), "X": ("verify", False),
    "m": ("sni", True), "M": ("sni", False),
}  # fmt: skip
TEXTS = {
    "l": "local_name", "I": "interface", "a": "cafile", "A": "cadir", "c": "certificate", "z": "ciphers", "k": "key",
    "K": "password_file",
}  # fmt: skip
SECONDS = "tw"
NUMBERS = {"p": "port", "t": "info_timeout", "V": "depth", "w": "idle"}


class Options:
    """What the command line asks for."""

    def __init__(self) -> None:
        self.level = "Q"
        self.family = self.ip = self.interface = ""
        self.names = self.no_delay = self.compare = self.verify = True
        self.info = self.tcp_variables = self.tls_variables = self.sni = self.password_fd = False
        self.port, self.idle, self.info_timeout = 0, 3600, 26
        self.depth: int | None = None
        self.patience = (2, 58)
        self.local_name: str | None = None
        self.cafile = self.cadir = self.certificate = self.ciphers = self.key = self.password_file = ""


def main(argv: list[str], env: dict[str, str]) -> int:
    """Connect, run the program, copy."""
    found, words = getopt(argv, LETTERS, USAGE)
    options = Options()
    for letter, argument in found:
        _apply(options, letter, argument)
    try:
        return _run(options, words, env)
    except Die as death:
        if options.level == "q":
            death.text = ""
        raise


def _apply(options: Options, letter: str, argument: str) -> None:
    """Take one option. Raises Die."""
    if letter in FLAGS:
        setattr(options, *FLAGS[letter])
    elif letter in TEXTS:
        setattr(options, TEXTS[letter], argument)
    elif letter in NUMBERS:
        setattr(options, NUMBERS[letter], (scan_seconds if letter in SECONDS else scan_number)(argument))
    elif letter == "T":
        first, _, second = argument.partition("+")
        options.patience = scan_seconds(first), scan_seconds(second)
    else:
        packed = addresses.parse(argument)
        if packed is None:
            raise Die(USAGE, 100)
        options.ip = addresses.compact(packed)


def _trouble(kind: str, code: int, text: str) -> Die:
    return Die(f"{PROG}: {kind}: ({code}) {text}", code)


def _run(options: Options, words: list[str], env: dict[str, str]) -> int:
    if not words or not words[0] or len(words) < 2:
        raise Die(USAGE, 100)
    host, port = words[0], bindings.port_number(PROG, words[1])
    if len(words) < 3:
        raise Die(USAGE, 100)
    try:
        context = _context(options)
    except LoadError as error:
        raise _trouble("error", ERROR, str(error)) from error
    found = connecting.resolve(PROG, host, options.family, env)
    local = connecting.Local(options.ip, options.port, options.interface, options.no_delay)
    try:
        made = connecting.connect(PROG, found, port, options.patience, local)
    except connecting.Unreachable as trouble:
        raise _trouble("drop", DROP, str(trouble)) from trouble
    server = connecting.visitor(made)
    pump = Pump(context.session(host if options.sni else None), made)
    _shake_hands(options, pump)
    _compare(options, pump, host)
    if options.level == "v":
        say(f"{PROG}: tls connected to: {server.ip} port: {server.port}")
    find_names(options, server, env)
    return _copy(options, pump, words[2:], _environment(options, server, pump, env), env)


def _context(options: Options) -> Context:
    """Raises LoadError."""
    keys = Keys(options.certificate, options.key, _password(options)) if options.certificate else None
    return contexts.for_client(
        verify=options.verify,
        cafile=options.cafile,
        cadir=options.cadir,
        keys=keys,
        ciphers=options.ciphers,
        depth=options.depth,
    )


def _password(options: Options) -> bytes | None:
    """Raises LoadError."""
    if options.password_fd:
        try:
            password = contexts.password_from(PASSWORD_FD)
            os.close(PASSWORD_FD)
        except OSError as error:
            raise LoadError("unable to read password from FD3") from error
        return password
    if options.password_file:
        try:
            fd = os.open(options.password_file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return contexts.password_from(fd).rstrip(b"\n")
            finally:
                os.close(fd)
        except OSError as error:
            raise LoadError(f"unable to read password from: {options.password_file}") from error
    return None


def _shake_hands(options: Options, pump: Pump) -> None:
    """Raises Die."""
    try:
        pump.handshake(sum(options.patience))
        pump.flush()
    except Unverified as error:
        text = "missing credentials (CA) or unable to validate server certificate"
        raise _trouble("error", DROP, text) from error
    except (Trouble, TimeoutError) as error:
        raise _trouble("fatal", ERROR, "unable to TLS connect") from error


def _compare(options: Options, pump: Pump, host: str) -> None:
    """Whether the certificate is the host's. Raises Die."""
    if not options.verify and not options.compare:
        return
    der = pump.tls.certificate()
    if der is None:
        raise _trouble("error", DROP, "no server certificate")
    if options.verify and options.compare:
        from qserver.tls import certificates

        other = certificates.matching(certificates.load(der), host)
        if other is not None:
            raise _trouble("error", DROP, f"server hostname does not match certificate: {host} <=> {other}")


def _environment(options: Options, server: Visitor, pump: Pump, env: dict[str, str]) -> dict[str, str]:
    """The program's: SSLLOCAL…, SSLREMOTE…, and what else was asked for."""
    start = {name: value for name, value in env.items() if not name.startswith(environ.OF_TLS)}
    start = environ.base_of_tls(start, tcp=options.tcp_variables)
    found = environ.with_tls(start, server, tcp=options.tcp_variables)
    if options.tls_variables:
        found |= dict(_tls_variables(options, pump))
    return found


def _tls_variables(options: Options, pump: Pump) -> list[tuple[str, str]]:
    from qserver.tls import certificates

    told = list(variables.of_connection(pump.tls))
    der = pump.tls.certificate()
    if der is not None:
        told += certificates.variables("SERVER", certificates.load(der))
    if options.certificate:
        told += certificates.variables("CLIENT", certificates.first_of(options.certificate))
    return told


def _copy(options: Options, pump: Pump, argv: list[str], env: dict[str, str], ours: dict[str, str]) -> int:
    """Run the program between two pipes. Raises Die."""
    signals.ignore(signals.SIGPIPE)
    input_reader, input_writer = os.pipe2(os.O_CLOEXEC)
    output_reader, output_writer = os.pipe2(os.O_CLOEXEC)
    try:
        pid = chain.spawn(argv, env, {READ: input_reader, WRITE: output_writer}, ours.get("PATH", chain.DEFAULT_PATH))
    except OSError as error:
        raise fatal(PROG, f"({ERROR}) unable to run: {argv[0]}", error, unknown=None) from error
    os.close(input_reader)
    os.close(output_writer)
    try:
        pump.copy(output_reader, input_writer, options.idle)
    except Trouble as error:
        raise _trouble("drop", DROP, "unable to speak TLS") from error
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else ERROR
