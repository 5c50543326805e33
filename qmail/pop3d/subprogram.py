"""From the credentials to the session: running qmail-popup's subprogram (access 2.5).

Three ways with one outcome. Where the subprogram is our qmail-authuser and what it becomes is our qmail-pop3d, both are
functions: in this process when nobody has to change identity, in a forked child when somebody has. Anything else gets
the checkpassword protocol: a process, a pipe on descriptor 3, the network on 0, 1 and 2.
"""

from __future__ import annotations

import errno
import os

from qmail.auth import userfile
from qmail.auth.authuser import Invocation, check, parse_arguments
from qmail.auth.checkpassword import ACCEPTED, INPUT_FD, TEMPORARY, Identity
from qmail.home import home
from qmail.pop3d.mailbox import serve_maildir
from qserver.base import chain, signals
from qserver.net.programs import close_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from qserver.net.connection import Connection

CRASHED = -1
CHECKPW = "qmail-authuser"
SESSION = "qmail-pop3d"
HANDLED = (signals.SIGTERM, signals.SIGCHLD, signals.SIGALRM, signals.SIGHUP)
"""What a server may have handlers for; a session of its own has none."""


class StartFailed(Exception):
    """The subprogram could not be started; the text is the client's, without -ERR."""


def run(argv: list[str], env: dict[str, str], connection: Connection, data: bytes) -> int:
    """Run the subprogram on the bytes `data` of descriptor 3; its exit code or CRASHED. Raises StartFailed."""
    call = _own_chain(argv, env)
    if call is None:
        return _run_process(argv, env, connection, data)
    return _run_here(call, env, connection, data)


def _own_chain(argv: list[str], env: dict[str, str]) -> Invocation | None:
    """The call of our qmail-authuser that ends in our qmail-pop3d, or None when argv is something else."""
    if env.get("QSERVER_EXEC") == "1" or _own_name(argv[0], env) != CHECKPW:
        return None
    call = parse_arguments(argv)
    if call is None or _own_name(call.program[0], env) != SESSION:
        return None
    return call


def _own_name(name: str, env: dict[str, str]) -> str | None:
    try:
        return chain.own_command(chain.find(name, env.get("PATH")))
    except OSError:
        return None


def _run_here(call: Invocation, env: dict[str, str], connection: Connection, data: bytes) -> int:
    """qmail-authuser and qmail-pop3d as functions."""
    try:
        users = userfile.load(home(env))
    except OSError:
        return TEMPORARY
    network = {0: connection.rfd, 1: connection.wfd, 2: connection.wfd}
    outcome = check(call, users, data, env, network)
    del users, data
    if outcome.code != ACCEPTED:
        return outcome.code
    identity = outcome.identity
    if identity is not None and not identity.is_current:
        return _run_as(identity, call, env, connection)
    maildir = call.program[1] if len(call.program) > 1 else None
    if identity is not None:
        if not _can_enter(identity.home):
            return TEMPORARY
        maildir = maildir and os.path.join(identity.home, maildir)
    serve_maildir(maildir, connection)
    return 0


def _can_enter(directory: str) -> bool:
    """Whether chdir to it would succeed."""
    try:
        os.close(os.open(f"{directory}/.", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except (OSError, ValueError):
        return False
    return True


def _run_as(identity: Identity, call: Invocation, env: dict[str, str], connection: Connection) -> int:
    """The session in a child that becomes the user."""
    try:
        pid = os.fork()
    except OSError as error:
        raise StartFailed("unable to fork") from error
    if pid == 0:
        _become_session(identity, call, env, connection)
    return _wait(pid)


def _become_session(identity: Identity, call: Invocation, env: dict[str, str], connection: Connection) -> NoReturn:
    """The child: identity, network on 0 and 1, nothing of the server's left open, then qmail-pop3d. Never returns."""
    try:
        signals.default(*HANDLED)
        code = identity.become()
        if code == ACCEPTED:
            os.dup2(connection.rfd, 0)
            os.dup2(connection.wfd, 1)
            os.dup2(1, 2)
            close_private()
            chain.run_own(SESSION, call.program, identity.environment(env))
        os._exit(code)
    finally:
        os._exit(TEMPORARY)


def _run_process(argv: list[str], env: dict[str, str], connection: Connection, data: bytes) -> int:
    """Any checkpassword program, by the protocol."""
    try:
        read_end, write_end = os.pipe()
    except OSError as error:
        raise StartFailed("unable to open pipe") from error
    fds = {0: connection.rfd, 1: connection.wfd, 2: connection.wfd, INPUT_FD: read_end}
    try:
        pid = chain.spawn(argv, env, fds)
    except OSError as error:
        os.close(write_end)
        if error.errno in (errno.EAGAIN, errno.ENOMEM):
            raise StartFailed("unable to fork") from error
        return 1
    finally:
        os.close(read_end)
    _hand_over(write_end, data)
    return _wait(pid)


def _hand_over(pipe: int, data: bytes) -> None:
    """Write the credentials and close; a module that ended without reading is judged by its exit code."""
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(pipe, rest) :]
    except BrokenPipeError:
        return
    except OSError as error:
        raise StartFailed("unable to write pipe") from error
    finally:
        os.close(pipe)


def _wait(pid: int) -> int:
    status = os.waitpid(pid, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else CRASHED
