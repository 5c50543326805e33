"""Sockets that outlive a service: named by its file `socket`, or handed to svscan or supervise by systemd.

The service finds them as sd_listen_fds(3) does: descriptors from 3 on, LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES. A client that
calls while the service restarts waits in the backlog instead of being refused. A line of the file is

    tcp ADDRESS PORT | udp ADDRESS PORT | unix PATH | unixgram PATH    [name=NAME] [backlog=N] [mode=OCTAL]
"""

from __future__ import annotations

import errno
import fcntl
import os

from qserver.base.errors import Die, describe
from qserver.service import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Iterable, Mapping

PROG = "supervise"
FIRST = 3
"""SD_LISTEN_FDS_START."""
VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
MOST = 256
"""Sockets that are accepted from whoever started us."""
BACKLOG, LARGEST_BACKLOG = 128, 65535
HIGHEST_PORT = 65535
ANYWHERE = ("0", "0.0.0.0")
KINDS = {"tcp": 2, "udp": 2, "unix": 1, "unixgram": 1}
"""Words of an address."""
UNNAMED = "unknown"
"""What systemd calls a socket without a name."""

Named = tuple[int, str]
"""A descriptor and its name."""


class Wish:
    """One line of `socket`."""

    __slots__ = ("address", "backlog", "kind", "mode", "name")

    def __init__(self, kind: str, address: list[str], name: str, backlog: int, mode: int) -> None:
        self.kind = kind
        self.address = address
        self.name = name
        self.backlog = backlog
        self.mode = mode

    def shown(self) -> str:
        """For a message."""
        return " ".join([self.kind, *self.address])


def parse(line: str) -> Wish:
    """Raises ValueError for a line that does not make sense."""
    words = line.split()
    count = KINDS.get(words[0], len(words))
    address, options = words[1 : 1 + count], dict(_option(word) for word in words[1 + count :])
    if len(address) != count or not count or set(options) - {"name", "backlog", "mode"}:
        raise ValueError(line)
    name = options.get("name", UNNAMED)
    if ":" in name or not name.isprintable():
        raise ValueError(line)
    backlog = min(int(options.get("backlog", BACKLOG)), LARGEST_BACKLOG)
    return Wish(words[0], address, name, max(0, backlog), int(options.get("mode", "666"), 8) & 0o777)


def _option(word: str) -> tuple[str, str]:
    name, found, value = word.partition("=")
    if not found:
        raise ValueError(word)
    return name, value


def inherited(env: Mapping[str, str]) -> list[Named]:
    """The sockets that whoever started this very process handed to it; from now on close-on-exec."""
    count = env.get("LISTEN_FDS", "")
    if env.get("LISTEN_PID") != str(os.getpid()) or not count.isdigit() or int(count) > MOST:
        return []
    names = env.get("LISTEN_FDNAMES", "").split(":")
    found = []
    for index, fd in enumerate(range(FIRST, FIRST + int(count))):
        try:
            os.set_inheritable(fd, False)
        except OSError:
            continue
        found.append((fd, names[index] if index < len(names) and names[index] else UNNAMED))
    return found


def without(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program that gets no sockets."""
    return {name: value for name, value in env.items() if name not in VARIABLES}


def announcement(env: Mapping[str, str], sockets: list[Named]) -> dict[str, str]:
    """The environment of a program that gets these; LISTEN_PID is set when its pid is known."""
    names = ":".join(name for _, name in sockets)
    return {**without(env), "LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names}


def placed(sockets: Iterable[Named]) -> dict[int, int]:
    """Descriptor of the program that gets them → ours."""
    return {FIRST + index: fd for index, (fd, _) in enumerate(sockets)}


def place_descriptors(fds: dict[int, int]) -> None:
    """Give each descriptor its number (there → here), inheritable; those in the way are moved aside first."""
    spare = max([*fds, *fds.values()], default=0) + 1
    moved = {target: fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, spare) for target, source in fds.items()}
    for target, source in moved.items():
        os.dup2(source, target, inheritable=True)
        os.close(source)


def hand_over(handed: list[Named], service: str, env: Mapping[str, str]) -> dict[str, str]:
    """In a supervise that svscan has forked: keep the sockets that bear the service's name; returns its environment."""
    mine = [(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST + len(handed)), name) for fd, name in handed if name == service]
    for fd, _ in handed:
        os.close(fd)
    if not mine:
        return without(env)
    place_descriptors(placed(mine))
    for fd, _ in mine:
        os.close(fd)
    return {**announcement(env, mine), "LISTEN_PID": str(os.getpid())}


class Sockets:
    """All sockets of one service: those that were handed to supervise, and those of its file once it is to be started."""

    __slots__ = ("_handed", "_kept", "_paths", "_service")

    def __init__(self, service: str, handed: list[Named]) -> None:
        self._service = service
        self._handed = handed
        self._kept: list[tuple[_socket.socket, str]] | None = None
        """None: the file has not been read yet."""
        self._paths: list[str] = []
        """Of the unix sockets we made."""

    def open(self) -> list[Named]:
        """What the service gets. Raises Die (to be said, and tried again) where the file or an address is at fault."""
        if self._kept is None:
            text = settings.text_of(self._service, "socket")
            kept: list[tuple[_socket.socket, str]] = []
            for line in settings.lines(text or ""):
                kept.append(self._make(line))
            self._kept = kept
        return [*self._handed, *((made.fileno(), name) for made, name in self._kept)]

    def close(self) -> None:
        """supervise ends: no file of a unix socket stays behind."""
        for path in self._paths:
            try:
                os.unlink(path)
            except OSError:
                continue
        self._kept = None

    def _make(self, line: str) -> tuple[_socket.socket, str]:
        try:
            wish = parse(line)
        except ValueError:
            raise Die(f"{PROG}: fatal: unable to start {self._service}/run: bad line in socket: {line}", 111) from None
        try:
            made = listen(wish)
        except OSError as error:
            doing = f"unable to start {self._service}/run: unable to listen on {wish.shown()}"
            raise Die(describe(PROG, "fatal", doing, error, "unknown error"), 111) from error
        if wish.kind.startswith("unix"):
            self._paths.append(wish.address[0])
        return made, wish.name


def listen(wish: Wish) -> _socket.socket:
    """A bound socket, listening where that makes sense. Raises OSError, also for an address that is none."""
    import _socket

    if wish.kind.startswith("unix"):
        return _listen_unix(wish)
    family = _socket.AF_INET6 if ":" in wish.address[0] else _socket.AF_INET
    made = _socket.socket(family, _kind(wish) | _socket.SOCK_CLOEXEC)
    made.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    if family == _socket.AF_INET6:
        made.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
    address, port = wish.address
    made.bind(("0.0.0.0" if address in ANYWHERE else address, _port(wish.kind, port)))
    if wish.kind == "tcp":
        made.listen(wish.backlog)
    return made


def _listen_unix(wish: Wish) -> _socket.socket:
    """A stale file of an earlier socket is replaced, one that somebody listens on is not."""
    import _socket

    path = wish.address[0]
    made = _socket.socket(_socket.AF_UNIX, _kind(wish) | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    try:
        made.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError:
        pass  # nothing there, or what bind will complain about
    made.close()
    made = _socket.socket(_socket.AF_UNIX, _kind(wish) | _socket.SOCK_CLOEXEC)
    made.bind(path)
    os.chmod(path, wish.mode)
    if wish.kind == "unix":
        made.listen(wish.backlog)
    return made


def _kind(wish: Wish) -> int:
    import _socket

    return _socket.SOCK_STREAM if wish.kind in ("tcp", "unix") else _socket.SOCK_DGRAM


def _port(kind: str, port: str) -> int:
    import _socket

    number = int(port) if port.isdigit() else _socket.getservbyname(port, kind)
    if number > HIGHEST_PORT:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return number
