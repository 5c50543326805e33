"""NAME
    sslserver - accept TLS connections and run a program for each (ucspi-ssl)
SYNOPSIS
    sslserver [ --exec ] [ --proxy ] [ --reuseport ] [ --sessions n ] [ -1346UXpPhHrRoOdDqQvVIeEsSnNmzZ ] [ -c limit ]
              [ -y iprules.cdb ] [ -x rules.cdb ] [ -B banner ] [ -g gid ] [ -u uid ] [ -b backlog ] [ -l localname ]
              [ -t timeout ] [ -I interface ] [ -T ssltimeout ] [ -w progtimeout ] host port program [ arg ... ]
DESCRIPTION
    As tcpserver, with TLS. Beside each worker there is a process that has the key and talks to the client; the program's
    descriptors 0 and 1 are pipes to it. With -n they are the plain connection, until the program asks for TLS by writing
    `y` or `Y` to descriptor $SSLCTLFD; it goes on with $SSLREADFD and $SSLWRITEFD then. HUP: certificate, key and the other
    files are read again, for the sessions that follow.
OPTIONS
    those of tcpserver (-D is the default here), and
    -V            with -v: version and cipher in the tls line
    -y rules.cdb  rules for the address alone, looked up first; where one speaks, -x is not asked
    -T n          seconds for the handshake (26)
    -w n          seconds without traffic before the connection is given up (3600)
    -n -N         TLS when the program asks for it, or at once (default)
    -s -S         the mod_ssl variables for the program, or not (default)
    -e -E         the TCP variables too (default), or not
    -3            the key's password is on descriptor 3, up to a NUL
    -z -m -Z      demand a client certificate that is its host's, or any, or none (default)
    -1            print `IP : PORT [LIMIT/MAXCONIP]`
ENVIRONMENT
    CERTFILE, KEYFILE             certificate (its chain may follow) and key; without KEYFILE both are in CERTFILE
    CERTCHAINFILE                 instead of CERTFILE: the chain, our certificate first
    CAFILE, CADIR                 authorities of client certificates; CCAFILE: those named to clients, - for no certificates
    DHFILE                        Diffie-Hellman parameters, of 2048 bits at least
    CIPHERS                       suites (Mozilla's intermediate ones); those of TLS 1.3 begin with TLS_; with @SECLEVEL=0
                                  TLS 1.0 and 1.1 are spoken too
    MAXCONIP, UID, GID            as tcpserver's; MAXCONIP is -c's number by default
    VERIFYDEPTH                   at most so many certificates between a client's and its authority's (1)
    SSL_UID, SSL_GID, SSL_CHROOT  who the TLS processes are, and where
    QSERVER_RENEW_KEYS            seconds between renewals of the keys of session tickets (43200; 0: only at HUP)
DIAGNOSTICS
    tcpserver's, with status: N/LIMIT/MAXCONIP and `ended by PID status STATUS`; and
    tls PID accept
    fatal: (111) unable to accept TLS from: IP for pid: PID REASON
    error: (111) unable to speak TLS with: IP for pid: PID REASON
EXIT
    as tcpserver's; 111 also where a certificate or key cannot be loaded
"""

from __future__ import annotations

import _socket
import errno
import os

from qserver.base import signals
from qserver.base.errors import Die, fatal, say, warn
from qserver.base.files import detach, write_all
from qserver.base.getopt import scan_number
from qserver.net import bindings, environ, options, pool, programs
from qserver.net.connection import block_of, pairs_of
from qserver.net.rehearsal import rehearse
from qserver.net.scoreboard import Scoreboard
from qserver.net.site import Site
from qserver.tls import contexts, rehearsal
from qserver.tls.contexts import LoadError, ServerFiles
from qserver.tls.kit import Cage, Kit
from qserver.tls.log import TlsLog
from qserver.tls.options import NO_CERTIFICATE, SYNTAX, TlsOptions
from qserver.tls.worker import RelayProcess, Secured

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from qserver.net.bindings import Listener
    from qserver.net.programs import Program
    from qserver.tls.kit import Pairs

PROG = "sslserver"
PASSWORD_FD = 3
RENEW_KEYS = 12 * 3600
"""Seconds after which everything is read again and the keys of tickets are new, as at HUP; 0: never."""
NOBODY_ASKS = "-"
"""CCAFILE: no client certificates after all."""


def main(argv: list[str], env: dict[str, str]) -> int:
    """Serve until SIGTERM."""
    asked = TlsOptions()
    options.parse(argv, env, SYNTAX, asked)
    if asked.most_per_address is None:
        asked.most_per_address = asked.limit
    signals.block(signals.SIGHUP)  # until there is somebody to reload
    signals.handle(signals.SIGTERM, _leave([]))
    signals.ignore(signals.SIGPIPE)
    try:
        listener = _open(asked, env)
        signals.handle(signals.SIGTERM, _leave(listener))
        program = programs.choose(asked.program, env, asked.always_exec)
        kit, password = _load(asked, env, program)
        detach()
    except Die as death:
        if asked.level == options.QUIET:
            death.text = ""
        raise
    return _serve(asked, env, listener, program, kit, password)


def _leave(listeners: list[Listener]) -> Callable[[int, object], NoReturn]:
    """SIGTERM before the pool is there: there is nothing to wait for, but children of ours may know the port."""

    def leave(_number: int, _frame: object) -> NoReturn:
        for listener in listeners:
            listener.shut()
        os._exit(0)

    return leave


def _open(asked: TlsOptions, env: dict[str, str]) -> list[Listener]:
    """Bind, listen, print the address (-1). Raises Die."""
    listeners, shown = bindings.open_all(asked, SYNTAX, env)
    for what, number, own in (("gid", asked.gid, os.getegid()), ("uid", asked.uid, os.geteuid())):
        if number not in (0, own) and os.geteuid() != 0:  # each worker does it later
            raise fatal(PROG, f"(111) unable to set {what}", errno.EPERM, unknown=None)
    if asked.print_address:
        say(f"{shown} : {listeners[0].port} [{asked.limit}/{asked.most_per_address}]", 1)
    return listeners


def _load(asked: TlsOptions, env: dict[str, str], program: Program) -> tuple[Kit, bytes | None]:
    """Certificates and keys, where the relays go, and the key's password. Raises Die."""
    files = ServerFiles(env)
    if files.ccafile == NOBODY_ASKS:
        asked.client = NO_CERTIFICATE
    try:
        password = _password() if asked.password_fd else None
        kit, bits = _kit(asked, env, program, password)
    except LoadError as error:
        raise Die(f"{PROG}: error: (111) {error}", 111) from error
    if asked.client != NO_CERTIFICATE:
        import qserver.tls.certificates  # before the fork, and before the relay's chroot  # noqa: F401
    if bits < 0:
        warn(PROG, f"DH parameters too weak, ignored: {files.dhfile}")
    if asked.level >= options.VERBOSE:
        _say_files(files, bits)
    if not asked.delayed:
        asked.late_banner, asked.banner = asked.banner, b""
    return kit, password


def _kit(asked: TlsOptions, env: dict[str, str], program: Program, password: bytes | None) -> tuple[Kit, int]:
    """What can be read again at SIGHUP, and the bits of the DH parameters. Raises LoadError."""
    files = ServerFiles(env)
    ask, protocols = asked.client != NO_CERTIFICATE, program.protocols
    context, bits = contexts.for_server(files, ask=ask, password=password, protocols=protocols)
    return Kit(context, _of_server(files), _cage(asked, env), protocols), bits


def _password() -> bytes:
    try:
        password = contexts.password_from(PASSWORD_FD)
        os.close(PASSWORD_FD)
    except OSError as error:
        raise LoadError("unable to read password from FD3") from error
    return password


def _say_files(files: ServerFiles, bits: int) -> None:
    """The lines of the start (ucspi 6.1)."""
    pid = os.getpid()
    for word, value in (
        ("ciphers", files.ciphers), ("cafile", files.cafile), ("ccafile", files.ccafile), ("cadir", files.cadir),
        ("certchainfile", files.chainfile), ("cert", files.certfile), ("key", files.keyfile),
        ("dhparam", f"{files.dhfile} {bits}" if bits > 0 else ""),
    ):  # fmt: skip
        say(f"{PROG}: {word} {pid} {value}")


def _of_server(files: ServerFiles) -> Pairs:
    """The variables of our own certificate; worked out in a child, whose library would be memory in every process of ours."""
    path = files.chainfile or files.certfile
    if not path:
        return []
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _say_variables(path, writer)
    os.close(writer)
    with open(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    return pairs_of(data)


def _say_variables(path: str, fd: int) -> NoReturn:
    """In the child."""
    try:
        from qserver.tls import certificates

        write_all(fd, block_of(certificates.variables("SERVER", certificates.first_of(path))))
    finally:
        os._exit(0)


def _cage(asked: TlsOptions, env: dict[str, str]) -> Cage:
    """Who the relays are. Another user than root cannot change that."""
    given = [env.get(name, "") for name in ("SSL_UID", "SSL_GID", "SSL_CHROOT")]
    if os.geteuid() == 0:
        uid = scan_number(given[0]) if given[0] else asked.uid
        gid = scan_number(given[1]) if given[1] else asked.gid
        return Cage(uid, gid, given[2])
    if given[2] or given[0] not in ("", str(os.geteuid())) or given[1] not in ("", str(os.getegid())):
        warn(PROG, "not root: SSL_UID, SSL_GID, SSL_CHROOT ignored")
    return Cage(0, 0, "")


def _serve(
    asked: TlsOptions, env: dict[str, str], listeners: list[Listener], program: Program, kit: Kit, password: bytes | None
) -> int:
    if asked.names or asked.local_name is None:
        from qserver.net import lookup

        lookup.preload()
    log = TlsLog(PROG, asked.level, asked.limit, asked.most_per_address or 0)
    site = Site(asked, env, listeners, Scoreboard(asked.limit), log, grows=True)
    site.start = environ.base_of_tls(site.start, tcp=asked.tcp_variables)
    shelf = [kit]
    channels: list[_socket.socket] = []

    def reload() -> bool:
        """Certificate, key, CA and DH files again; if that fails the old ones stay."""
        try:
            shelf[0] = _kit(asked, env, program, password)[0]
        except LoadError as error:
            log.complain("warning", str(error))
            return False
        return True

    def split() -> RelayProcess | None:
        """A worker and its relay."""
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        if os.fork() == 0:
            ours.close()
            return RelayProcess(site, shelf[0], theirs)
        theirs.close()
        channels.append(ours)
        return None

    def make(site: Site, cell: int) -> Secured:
        return Secured(site, cell, program, channels.pop())

    if isinstance(program, programs.Called) and program.rehearsal:
        rehearse(site, lambda stage: rehearsal.play(stage, program, kit))
    renew = scan_number(env.get("QSERVER_RENEW_KEYS", ""), RENEW_KEYS)
    return pool.Pool(site, make, exclusive=True, split=split, reload=reload, renew=renew).run()
