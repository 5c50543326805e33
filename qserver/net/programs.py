"""How a server's program is run for a connection: called, forked, or spawned.

A network command of ours is called in the worker. Another command of ours is run in a fork of the worker, which is warm.
Whatever else execvp would find is started as a process of its own.
"""

from __future__ import annotations

import errno
import os

from qserver.base import chain, signals
from qserver.base.errors import Die, fatal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from qserver.net.connection import Connection

NO_PROCESS = (errno.EAGAIN, errno.ENOMEM)
"""Errors of a start that are not the program's fault."""


ANY: tuple[str, ...] = ()
"""Of a program that we know nothing of."""


class Called:
    """A network program of ours: a function that serves a connection.

    `protocols`: what clients may call it by ALPN. `rehearsal`: a client's first words, which change nothing.
    """

    __slots__ = ("argv", "protocols", "rehearsal", "serve")

    def __init__(
        self, argv: list[str], serve: Callable[[list[str], dict[str, str], Connection], int], protocols: tuple[str, ...] = (),
        rehearsal: bytes = b"",
    ) -> None:  # fmt: skip
        self.argv = argv
        self.serve = serve
        self.protocols = protocols
        self.rehearsal = rehearsal


class Forked:
    """A command of ours that is no network program (an envdir before one, for instance)."""

    __slots__ = ("_name", "argv")
    protocols = ANY

    def __init__(self, argv: list[str], name: str) -> None:
        self.argv = argv
        self._name = name

    def start(self, fd: int, env: dict[str, str]) -> int:
        """Run it with descriptors 0 and 1 = `fd`; returns its pid. Raises OSError."""
        pid = os.fork()
        if pid == 0:
            self._become(fd, env)
        return pid

    def _become(self, fd: int, env: dict[str, str]) -> NoReturn:
        try:
            signals.default(*signals.changed())
            os.dup2(fd, 0)
            os.dup2(fd, 1)
            close_private()
            chain.run_own(self._name, list(self.argv), env)
        finally:
            os._exit(111)


class Spawned:
    """Any program. The file is looked up once, and again when it is no longer there."""

    __slots__ = ("_file", "_path", "argv")
    protocols = ANY

    def __init__(self, argv: list[str], path: str | None) -> None:
        self.argv = argv
        self._path = path
        self._file: str | None = None

    def start(self, fd: int, env: dict[str, str]) -> int:
        """Start it with descriptors 0 and 1 = `fd`; returns its pid. Raises OSError."""
        if self._file is not None:
            try:
                return chain.spawn(self.argv, env, {0: fd, 1: fd}, file=self._file)
            except (FileNotFoundError, PermissionError, NotADirectoryError):
                self._file = None
        self._file = chain.find(self.argv[0], self._path)
        return chain.spawn(self.argv, env, {0: fd, 1: fd}, file=self._file)


Program = Called | Forked | Spawned


def choose(argv: list[str], env: dict[str, str], always_spawn: bool) -> Program:
    """How argv will be run. What can be imported for it is imported now, before a pool forks."""
    path = env.get("PATH")
    name = None if always_spawn or env.get("QSERVER_EXEC") == "1" else _own_name(argv[0], path)
    if name is None:
        return Spawned(argv, path)
    module = chain.load(name)
    serve = getattr(module, "serve", None)
    for word in argv[1:]:  # what the command may become
        if "/" not in word and (later := _own_name(word, path)) is not None:
            _preload(later)
    _preload(name)
    if serve is None:
        return Forked(argv, name)
    return Called(argv, serve, getattr(module, "ALPN", ANY), getattr(module, "REHEARSAL", b""))


def become(prog: str, argv: list[str], env: dict[str, str], path: str | None = None, name: str | None = None) -> NoReturn:
    """`chain.execute` in ucspi's words: raises Die `PROG: fatal: (111) unable to run: NAME: ERRTEXT`, 111."""
    try:
        chain.execute(argv, env, prog, path, name)
    except Die as death:
        if not isinstance(death.__cause__, OSError):
            raise
        wanted = argv[0] if name is None else name
        raise fatal(prog, f"(111) unable to run: {wanted}", death.__cause__, unknown=None) from death


def _own_name(word: str, path: str | None) -> str | None:
    """The command of ours that execvp would find under this name."""
    try:
        return chain.own_command(chain.find(word, path))
    except (OSError, ValueError):
        return None


def _preload(name: str) -> None:
    preload = getattr(chain.load(name), "preload", None)
    if preload is not None:
        preload()


def close_private() -> None:
    """Close what an exec would close: every descriptor marked close-on-exec."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.get_inheritable(int(name)):
                os.close(int(name))
        except OSError:
            continue
