"""The programs that one supervise starts: which descriptors and variables each of them gets."""

from __future__ import annotations

import os

from qserver.base import chain, signals
from qserver.base.errors import Die, describe, say, warn
from qserver.service import channel, place, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PROG = "supervise"
NO_EXEC = 111
CAUGHT = (signals.SIGCHLD, signals.SIGTERM, signals.SIGINT, signals.SIGTSTP, signals.SIGCONT)
"""Signals that supervise handles."""


class Children:
    """Starts the scripts of the current directory. `log_pipe`: the pipe to an executable `log`, if there is one."""

    def __init__(self, name: str, env: dict[str, str], log_pipe: tuple[int, int] | None) -> None:
        self._name = name
        handed = sockets.inherited(env)
        self._env = sockets.without(env) if handed else env
        self._log_pipe = log_pipe
        self.sockets = sockets.Sockets(name, handed)
        self.pipe = channel.Pipe()
        self.datagrams: channel.Datagrams | None = None

    def start(self, kind: str, script: str) -> int:
        """Start ./SCRIPT of main or log; returns its pid. Raises OSError, Die where a socket is not to be had."""
        if kind == "log":
            return self._spawn(["./log"], {0: self._log_pipe[0]} if self._log_pipe is not None else {})
        return self._run() if script == "run" else self._spawn([f"./{script}"], self._output())

    def finish(self, code: int, number: int, group: int) -> int:
        """Start ./finish behind a run that ended with this exit code or signal; returns its pid. Raises OSError."""
        return self._spawn(["./finish", str(code), str(number), self._name, str(group)], self._output())

    def notify(self, script: str, event: str, pid: int, code: int) -> None:
        """Tell an executable `notify`, which runs on its own."""
        if place.is_executable_file("notify"):
            try:
                self._spawn(["./notify", script, event, str(pid), str(code)], {})
            except OSError as error:
                warn(PROG, f"unable to start {self._name}/notify", error)

    def own_session(self) -> bool:
        """Whether what is started gets a session and process group of its own."""
        return not place.exists("no-setsid")

    def _output(self) -> dict[int, int]:
        return {} if self._log_pipe is None else {1: self._log_pipe[1]}

    def _run(self) -> int:
        """./run with its sockets and its way to say that it is ready."""
        listening = self.sockets.open()
        fds, env = {**self._output(), **sockets.placed(listening)}, self._env
        self.pipe.close()
        try:
            fds |= {number: fd for number, fd in self.pipe.open(self._name).items() if self._is_free(number, fds)}
            if self._listen():
                env = {**env, "NOTIFY_SOCKET": self.datagrams.address if self.datagrams is not None else ""}
            if listening:
                return self._fork(["./run"], sockets.announcement(env, listening), fds)
            return self._spawn(["./run"], fds, env)
        finally:
            self.pipe.started()

    def _is_free(self, number: int, fds: dict[int, int]) -> bool:
        if number in fds:
            warn(PROG, f"{self._name}/notification-fd is the descriptor of a socket")
        return number not in fds

    def _listen(self) -> bool:
        """Whether there is a notification socket; made when it is first asked for."""
        if not channel.wants_socket():
            return False
        if self.datagrams is None:
            self.datagrams = channel.datagrams(self._name)
        return self.datagrams is not None

    def _spawn(self, argv: list[str], fds: dict[int, int], env: dict[str, str] | None = None) -> int:
        return chain.spawn(argv, self._env if env is None else env, fds, setsid=self.own_session())

    def _fork(self, argv: list[str], env: dict[str, str], fds: dict[int, int]) -> int:
        """As `_spawn`, with LISTEN_PID, which nobody knows before the process exists. Raises OSError.

        Signals wait meanwhile: one meant for the child must not end up in our pipe of signals.
        """
        chain.find(argv[0])
        signals.block(*CAUGHT)
        try:
            pid = os.fork()
            if pid == 0:
                self._become(argv, env, fds)
        finally:
            signals.unblock_all()
        return pid

    def _become(self, argv: list[str], env: dict[str, str], fds: dict[int, int]) -> NoReturn:
        """In the child: never returns."""
        try:
            signals.default(*signals.changed(), *CAUGHT)
            signals.unblock_all()
            if self.own_session():
                os.setsid()
            sockets.place_descriptors(fds)
            chain.execute(argv, {**env, "LISTEN_PID": str(os.getpid())}, PROG)
        except OSError as error:
            self._could_not(argv[0][2:], error)
        except Die as death:
            self._could_not(argv[0][2:], death.__cause__)
        finally:
            os._exit(NO_EXEC)

    def _could_not(self, script: str, trouble: BaseException | None) -> None:
        error = trouble if isinstance(trouble, OSError) else None
        say(describe(PROG, "fatal", f"unable to start {self._name}/{script}", error, "unknown error"))
