"""A qmail home for one measurement."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from bench import servers
from qmail.queue import layout

CONTROL = {"me": "mail.example.test", "locals": "example.test", "rcpthosts": "example.test"}
MESSAGE = b"Subject: benchmark\n\n" + b"x" * 75 + b"\n"
MESSAGE += (b"0123456789" * 7 + b"\n") * 13


def fill_maildir(maildir: Path, count: int) -> None:
    """A Maildir with `count` messages of 1 KB, an hour old."""
    for name in ("tmp", "new", "cur"):
        (maildir / name).mkdir(parents=True, exist_ok=True)
    old = time.time() - 3600
    for number in range(count):
        path = maildir / "cur" / f"{int(old)}.M{number}P1.host:2,"
        path.write_bytes(MESSAGE)
        os.utime(path, (old, old))


class Home:
    """A home on disk with one local user, `alice`, whose deliveries go to `maildir`."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR", "/var/tmp"))
        self.path = self._directory.name
        self.maildir = Path(self.path, "alice", "Maildir")

    def __enter__(self) -> Home:
        top = Path(self.path)
        top.chmod(0o755)
        for name in ("control", "users", "alias", "run"):
            (top / name).mkdir()
        for name, text in CONTROL.items():
            (top / "control" / name).write_text(text + "\n")
        (top / "bin").symlink_to(servers.BIN)
        layout.make(self.path)
        fill_maildir(self.maildir, 0)
        uid, gid = self.owner()
        for path in (self.maildir.parent, self.maildir, *self.maildir.iterdir()):
            os.chown(path, uid, gid)
        self._assign("alice", self.maildir.parent, uid, gid)
        return self

    def __exit__(self, *_: object) -> None:
        self._directory.cleanup()

    @staticmethod
    def owner() -> tuple[int, int]:
        """Who deliveries run as: nobody for root, who may not deliver, else ourselves."""
        return (65534, 65534) if os.geteuid() == 0 else (os.getuid(), os.getgid())

    def _assign(self, name: str, directory: Path, uid: int, gid: int) -> None:
        (Path(self.path) / "users" / "assign").write_text(f"={name}:{name}:{uid}:{gid}:{directory}:::\n.\n")
        self._run("qmail-newu")

    def _run(self, name: str) -> None:
        env = servers.environment(QMAILHOME=self.path)
        subprocess.run([str(servers.BIN / name)], env=env, check=True)

    def pop3_user(self, name: str, password: str, directory: Path) -> None:
        """A user whose mailbox is DIRECTORY/Maildir."""
        owner = directory.stat()
        uid, gid = (owner.st_uid or 65534), (owner.st_gid or 65534)
        self._assign(name, directory, uid, gid)
        (Path(self.path) / "control" / "locals").write_text("example.test\nlocalhost\n")
        (Path(self.path) / "users" / "authuser").write_text(f"{name}:{password}\n")

    def empty_queue(self) -> None:
        """Start the next measurement with an empty queue."""
        queue = Path(self.path, "queue")
        shutil.rmtree(queue)
        layout.make(self.path)

    def inject(self, count: int) -> None:
        """Queue messages for alice through the in-process client."""
        from qmail.queue.client import open_queue

        for _ in range(count):
            queue = open_queue(self.path, {})
            queue.put(MESSAGE)
            queue.envelope(b"a@example.test", [b"alice@example.test"])
            if queue.close() != 0:
                raise RuntimeError("unable to queue")

    def drain(self, count: int) -> float:
        """Start qmail-start on the full queue; messages per second to the last one in new/."""
        env = servers.environment(QMAILHOME=self.path)
        start = time.perf_counter()
        log = open(os.devnull, "wb")
        process = subprocess.Popen(
            [str(servers.BIN / "qmail-start"), "./Maildir/"], env=env, stdin=subprocess.DEVNULL, stdout=log
        )
        try:
            new = self.maildir / "new"
            while len(os.listdir(new)) < count:
                if time.perf_counter() - start > 120 or process.poll() is not None:
                    raise RuntimeError(f"only {len(os.listdir(new))} of {count} delivered")
                time.sleep(0.02)
            return count / (time.perf_counter() - start)
        finally:
            process.terminate()
            process.wait(20)
            log.close()
