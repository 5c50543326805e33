"""What sslserver's master makes ready for its relays before it forks: certificate and key, and where the relays go."""

from __future__ import annotations

import os

from qserver.base.errors import fatal
from qserver.base.privileges import become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.tls.library import Context

Pairs = list[tuple[str, str]]
"""Variables and their values."""


class Cage:
    """Who the relay is, and where: ids of 0 and no directory change nothing."""

    __slots__ = ("directory", "gid", "uid")

    def __init__(self, uid: int, gid: int, directory: str) -> None:
        self.uid = uid
        self.gid = gid
        self.directory = directory

    def enter(self, prog: str) -> None:
        """Raises Die."""
        doing = "chroot"
        try:
            if self.directory:
                os.chroot(self.directory)
                os.chdir("/")
            doing = "set gid"
            if self.gid:
                become(os.getuid(), self.gid, [self.gid])
            doing = "set uid"
            if self.uid:
                become(self.uid, os.getgid(), os.getgroups())
        except OSError as error:
            raise fatal(prog, f"(111) unable to {doing}", error, unknown=None) from error


class Kit:
    """What the master has read before it forks: the context, what there is to say of our certificate, the relay's cage.

    `protocols`: what a client may offer by ALPN; with none it may offer anything.
    """

    __slots__ = ("cage", "context", "of_server", "protocols")

    def __init__(self, context: Context, of_server: Pairs, cage: Cage, protocols: tuple[str, ...]) -> None:
        self.context = context
        self.of_server = of_server
        self.cage = cage
        self.protocols = tuple(name.encode() for name in protocols)
