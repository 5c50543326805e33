"""The one place where a command becomes, or starts, another program.

`execute` finds a program as execvp does. If what it finds is one of our own commands its `main` runs in this process
(an interpreter start costs more than most commands' work); otherwise it is a real execve. `QSERVER_EXEC=1` in the
environment makes every link a real exec.
"""

from __future__ import annotations

import errno
import os
import sys

from qserver.base import signals
from qserver.base.errors import Die, describe, fatal, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import NoReturn, TypeGuard

    from qserver.net.connection import Connection

    Serve = Callable[[list[str], dict[str, str], Connection], int]

DEFAULT_PATH = "/bin:/usr/bin"
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
GO_ON = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR)
"""Errors after which the search in $PATH goes on (daemontools 1.3)."""


class _Installation:
    """What the launcher told us at start; fixed for the life of the process."""

    __slots__ = ("aliases", "directory", "inodes", "memory", "table")

    def __init__(self) -> None:
        self.table: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.directory: str | None = None
        self.inodes: dict[str, tuple[int, int]] = {}
        self.memory: dict[int, int] = {}
        """Limits of memory that softlimit set (number → soft limit), of which an interpreter needs more."""


_installation = _Installation()


def set_table(table: dict[str, str], aliases: dict[str, str]) -> None:
    """Called once by `launch`: the table of commands."""
    _installation.table = table
    _installation.aliases = aliases


def set_bin_directory(launcher: str) -> None:
    """Called once by `launch`: the directory of the launcher that was started, symbolic links resolved."""
    _installation.directory = os.path.dirname(os.path.realpath(launcher))


def limit_memory(memory: dict[int, int]) -> None:
    """Called by softlimit: programs that are not ours get these limits, ours as much beyond what they have mapped."""
    _installation.memory = {**_installation.memory, **memory}


def with_room(call: Callable[[], object]) -> None:
    """Run `call` (importing what a program needs) with the limits of memory lifted; set them anew from what is mapped then."""
    memory = _installation.memory
    if not memory:
        call()
        return
    from qserver.base import limits

    limits.lift(memory)
    try:
        call()
    finally:
        limits.give_room(memory)


def bin_directory() -> str | None:
    """The directory our launchers stand in; None when no launcher started this process."""
    return _installation.directory


def environment() -> dict[str, str]:
    """The environment this process was started with, as the plain dictionary that commands take.

    In a C locale CPython adds LC_CTYPE to its own environment (PEP 538); the programs we become must not see it.
    """
    env = dict(os.environ)
    if env.get("LC_CTYPE", "").endswith("UTF-8") and not _was_given("LC_CTYPE"):
        del env["LC_CTYPE"]
    return env


def _was_given(name: str) -> bool:
    """Whether the kernel handed us this variable. True where that cannot be known."""
    try:
        fd = os.open("/proc/self/environ", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        data = b"\0"
        while block := os.read(fd, 65536):
            data += block
    finally:
        os.close(fd)
    return b"\0" + os.fsencode(name) + b"=" in data


def find(name: str, path: str | None = None) -> str:
    """The file that djb's pathexec would execute, searching `path` ($PATH; None: the default path).

    Raises OSError with the errno it would report: the last one that was not ENOENT, else ENOENT.
    """
    if not name:  # the directories themselves
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    if "/" in name:
        _check_executable(name)
        return name
    trouble = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for directory in (DEFAULT_PATH if path is None else path).split(":"):
        candidate = f"{directory or '.'}/{name}"
        try:
            _check_executable(candidate)
            return candidate
        except OSError as error:
            if error.errno not in GO_ON:
                raise
            if error.errno != errno.ENOENT:
                trouble = error
    raise trouble


def _check_executable(path: str) -> None:
    """Raise the OSError that execve would answer for what can be seen beforehand."""
    regular = os.stat(path).st_mode & 0o170000 == 0o100000
    if not regular or not os.access(path, os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)


def own_command(file: str) -> str | None:
    """The name of our command that this file is a launcher of, or None.

    A file is ours when it is the inode of the launcher of that name in our own bin directory, so links to it count.
    """
    name = file.rpartition("/")[2]
    return None if os.environ.get("QSERVER_EXEC") == "1" else _launcher_of(file, name)


def _launcher_of(file: str, name: str) -> str | None:
    """`name` if `file` is our launcher of it."""
    known = name in _installation.table or name in _installation.aliases
    if not known or _installation.directory is None:
        return None
    try:
        if name not in _installation.inodes:
            own = os.stat(f"{_installation.directory}/{name}")
            _installation.inodes[name] = (own.st_dev, own.st_ino)
        there = os.stat(file)
    except OSError:
        return None
    return name if (there.st_dev, there.st_ino) == _installation.inodes[name] else None


def module_name(name: str) -> str:
    """`qmail-smtpd` → `qmail.commands.qmail_smtpd`."""
    command = _installation.aliases.get(name, name)
    return f"{_installation.table[command]}.commands.{command.replace('-', '_').replace('@', '_at')}"


def load(name: str) -> ModuleType:
    """Import the module of one of our commands. Raises KeyError for a name not in the table."""
    module = module_name(name)
    with_room(lambda: __import__(module))
    return sys.modules[module]


def run_own(name: str, argv: list[str], env: dict[str, str]) -> NoReturn:
    """Run our command `name` in this process and end the process with its exit code. Never returns, never raises."""
    try:
        module = load(name)
        if len(argv) == 2 and argv[1] == "--help":
            print((module.__doc__ or "").strip())
            code = 0
        else:
            code = int(module.main(argv, env))
    except Die as death:
        if death.text:
            say(death.text)
        code = death.code
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException as error:  # noqa: BLE001 - the outermost loop: a bug must say where it is and stay temporary
        shortage = error if is_shortage(error) else None
        doing = "unable to go on" if shortage else "internal bug: " + place(error)
        say(describe(name, "fatal", doing, shortage, None))
        code = 111
    _end(code)


def is_shortage(error: BaseException) -> TypeGuard[OSError]:
    """Whether there are not enough descriptors, processes or memory: nobody's bug."""
    return isinstance(error, OSError) and error.errno in SHORTAGES


def place(error: BaseException) -> str:
    """`TypeError: text (file.py:12)` of the innermost frame."""
    where, trace = "", error.__traceback__
    while trace is not None:
        where = f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{where}".replace("\n", " ")


def _end(code: int) -> NoReturn:
    """Leave without the interpreter's finalization, which costs milliseconds; buffered output is written first."""
    try:
        if sys.stdout is not None:  # the interpreter has none where descriptor 1 was closed
            sys.stdout.flush()
    except (OSError, ValueError):
        code = code or 111
    os._exit(code)


def execute(argv: list[str], env: dict[str, str], prog: str, path: str | None = None, name: str | None = None) -> NoReturn:
    """Become the program `name` (None: argv[0]) with environment `env`; `path` is the PATH to search (None: env's).

    Raises Die `PROG: fatal: unable to run NAME: ERRTEXT`, 111, when that cannot be.
    """
    try:
        file = find(argv[0] if name is None else name, env.get("PATH") if path is None else path)
        own = None if env.get("QSERVER_EXEC") == "1" else own_command(file)
        if own is not None:
            run_own(own, argv, env)
        signals.default(*signals.INTERPRETERS_OWN)
        if _installation.memory:
            _exec_limited(file, argv, env)
        os.execve(file, argv, _expressible(env))
    except OSError as error:
        raise fatal(prog, f"unable to run {argv[0]}", error) from error


def _exec_limited(file: str, argv: list[str], env: dict[str, str]) -> NoReturn:
    """execve with the limits of memory; raises OSError, and has taken them back then."""
    from qserver.base import limits

    memory = _installation.memory
    size = sum(map(len, argv)) + sum(len(name) + len(value) for name, value in env.items()) + 100 * (len(argv) + len(env))
    try:
        if _launcher_of(file, file.rpartition("/")[2]) is None:
            _held = limits.exact(memory, size)
        else:
            limits.give_room(memory)
        os.execve(file, argv, _expressible(env))
    except MemoryError:
        limits.lift(memory)
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from None
    except OSError:
        limits.lift(memory)
        raise


def servable(argv: list[str], env: dict[str, str]) -> Serve | None:
    """The `serve` function of the program argv[0] if it is a network command of ours (now imported), else None."""
    if not argv or env.get("QSERVER_EXEC") == "1":
        return None
    try:
        name = own_command(find(argv[0], env.get("PATH")))
    except OSError:
        return None
    return None if name is None else getattr(load(name), "serve", None)


def spawn(
    argv: list[str],
    env: dict[str, str],
    fds: dict[int, int],
    path: str | None = None,
    file: str | None = None,
    *,
    setsid: bool = False,
) -> int:
    """Start argv as a process of its own (posix_spawn, which is vfork underneath) and return its pid.

    `file` is what `find` gave for argv[0], for a caller that starts one program many times.

    `fds` maps the child's descriptor to ours ({0: sock, 1: sock}); -1 closes it. Others are inherited as they are
    marked. Signals that the interpreter or we changed are default in the child. With `setsid` it leads a session of its
    own. Raises OSError if it cannot run.
    """
    if file is None:
        file = find(argv[0], env.get("PATH") if path is None else path)
    actions: list[tuple[int, ...]] = []
    sources = dict(fds)
    spares: list[int] = []
    for target, source in fds.items():
        if source >= 0 and source != target and source in fds:
            spares.append(_unused(max(*fds, *fds.values(), 2, *spares) + 1))
            actions.append((os.POSIX_SPAWN_DUP2, source, spares[-1]))
            sources[target] = spares[-1]
    for target, source in sources.items():
        actions.append((os.POSIX_SPAWN_CLOSE, target) if source < 0 else (os.POSIX_SPAWN_DUP2, source, target))
    actions += [(os.POSIX_SPAWN_CLOSE, spare) for spare in spares]
    env = _expressible(env)
    pid = os.posix_spawn(file, argv, env, file_actions=actions, setsid=setsid, setsigdef=signals.changed(), setsigmask=())
    if _installation.memory and _launcher_of(file, file.rpartition("/")[2]) is None:
        from qserver.base import limits

        limits.exact_for(pid, _installation.memory)
    return pid


def _expressible(env: dict[str, str]) -> dict[str, str]:
    """The same variables for a system call: Python refuses a name with `=` in it, and an empty one.

    `A=B` with the value `c` reads `A=B=c` there, as A with the value `B=c` does; nobody could ask for a name that begins
    with `=`, or for the empty one.
    """
    if not any("=" in name or not name for name in env):
        return env
    strings = (f"{name}={value}".partition("=") for name, value in env.items())
    return {name: value for name, _, value in strings if name}


def _unused(fd: int) -> int:
    """The first descriptor from `fd` on that is not open.

    A source that is itself a target is first copied there, so that one dup2 does not destroy another's source.
    """
    while True:
        try:
            os.fstat(fd)
        except OSError:
            return fd
        fd += 1
