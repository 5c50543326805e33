"""The first process of the world: `python -m … DIRECTORY BIN SECONDS SERVICE …`, in namespaces of its own, as root.

Puts a tree together below DIRECTORY in which the machine can be read but not written, with accounts, /var/qmail, /var/log
and /service of its own, and makes it its root. Then it says `ready`, starts svscan, answers DNS and reaps. When it ends, at
the end of its standard input or after SECONDS, the kernel ends everything in the world.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from qmail.queue import layout
from qmail.stack import certificate
from qmail.stack.layout import RELAY_NETS
from tests.end_to_end.run_scripts import kernel, zone

HERE = Path(__file__).resolve().parent
HOST = "mail.example.org"
SIZE = "size=256m,mode=755"
TICK = 1.0
QMAIL = Path("/var/qmail")
SSL = QMAIL / "ssl"
USERS = Path("/var/users")

GROUPS = {"nofiles": 2108, "sqmail": 2109, "alice": 7001, "bob": 7002}
ACCOUNTS = {
    # name: uid, group, home
    "alias": (7790, "nofiles", QMAIL / "alias"),
    "qmaild": (7791, "nofiles", QMAIL),
    "qmaill": (7792, "nofiles", QMAIL),
    "qmailp": (7793, "nofiles", QMAIL),
    "qmailq": (7794, "sqmail", QMAIL),
    "qmailr": (7795, "sqmail", QMAIL),
    "qmails": (7796, "sqmail", QMAIL),
    "sqmtls": (7797, "nofiles", SSL),
    "alice": (7001, "alice", USERS / "alice"),
    "bob": (7002, "bob", USERS / "bob"),
}
"""Operations 1.6, and two people."""
ETC = {
    "nsswitch.conf": "passwd: files\ngroup: files\nservices: files\nhosts: files dns\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "resolv.conf": "nameserver 127.0.0.1\n",
    "services": "smtp 25/tcp mail\npop3 110/tcp\n",
}
"""services: some of the names in the scripts are there, the others are not."""
RELAY = "".join(f'{net}:allow,RELAYCLIENT=""\n' for net in RELAY_NETS)
RULES = {"smtpd": RELAY + "=:allow,SPF='3'\n:deny\n", "qmqpd": "127.0.0.1:allow\n:deny\n"}
CONTROL = {
    "me": HOST,
    "locals": HOST,
    "rcpthosts": HOST,
    "defaultdomain": "example.org",
    "plusdomain": "example.org",
}
PASSWORD = "wonder land"


def mirror(source: Path, target: Path, own: set[str]) -> None:
    """Show every entry of a directory, for reading, in an empty one; but those that the world has of its own."""
    for entry in os.scandir(source):
        there = target / entry.name
        if entry.name in own:
            continue
        if entry.is_symlink():
            there.symlink_to(os.readlink(entry.path))
        elif entry.is_dir() or entry.is_file():
            there.mkdir() if entry.is_dir() else there.touch()
            kernel.bind(Path(entry.path), there, read_only=entry.name != "dev")


def build_root(root: Path) -> None:
    """The tree, with accounts."""
    kernel.mount("tmpfs", root, SIZE)
    mirror(Path("/"), root, {"var", "etc", "proc", "sys", "run", "service", "lost+found"})
    for name in ("var", "etc", "proc", "sys", "run", "service", "var/log", "var/users"):
        (root / name).mkdir()
    mirror(Path("/var"), root / "var", {"log", "qmail", "users"})
    mirror(Path("/etc"), root / "etc", {"passwd", "group", "shadow", "gshadow", *ETC})
    for name, text in ETC.items():
        (root / "etc" / name).write_text(text)
    passwd = [f"{name}:x:{uid}:{GROUPS[group]}::{home}:/bin/false" for name, (uid, group, home) in ACCOUNTS.items()]
    group = [f"{name}:x:{gid}:" for name, gid in GROUPS.items()]
    for file, lines in (("passwd", passwd), ("group", group)):
        ours = {line.partition(":")[0] for line in lines}
        others = [line for line in Path("/etc", file).read_text().splitlines() if line.partition(":")[0] not in ours]
        (root / "etc" / file).write_text("\n".join([*others, *lines]) + "\n")


def enter(root: Path) -> None:
    """Make the tree our root, and the world's network and name usable."""
    os.chroot(root)
    os.chdir("/")
    kernel.mount("proc", Path("/proc"))
    kernel.bring_up("lo")
    socket.sethostname(HOST)


def own(path: Path, name: str) -> None:
    """Give a file to an account."""
    uid, group, _ = ACCOUNTS[name]
    os.chown(path, uid, GROUPS[group])


def make_home(commands: Path) -> None:
    """/var/qmail as set-up leaves it, with alice in users/assign and bob only in the password file."""
    for name in ("control", "users", "alias", "svc", "ssl"):
        (QMAIL / name).mkdir(parents=True)
    (QMAIL / "bin").symlink_to(commands)
    layout.make(str(QMAIL))
    for name, text in CONTROL.items():
        (QMAIL / "control" / name).write_text(text + "\n")
    for name, text in RULES.items():
        stem = QMAIL / "control" / f"rules.{name}"
        subprocess.run([commands / "tcprules", f"{stem}.cdb", f"{stem}.tmp"], input=text.encode(), check=True)
    for box in (".qmail-root", ".qmail-postmaster", ".qmail-mailer-daemon"):
        (QMAIL / "alias" / box).touch()
    own(QMAIL / "alias", "alias")
    make_users(commands)
    make_certificate()


def make_users(commands: Path) -> None:
    """The people's homes, and what is known of them."""
    for name in ("alice", "bob"):
        home = ACCOUNTS[name][2]
        for directory in (home, home / "Maildir", *(home / "Maildir" / part for part in ("tmp", "new", "cur"))):
            directory.mkdir(mode=0o700)
            own(directory, name)
    assign = f"=alice:alice:{ACCOUNTS['alice'][0]}:{GROUPS['alice']}:{ACCOUNTS['alice'][2]}:::\n.\n"
    (QMAIL / "users" / "assign").write_text(assign)
    authuser = QMAIL / "users" / "authuser"
    authuser.write_text(f"alice@{HOST}:{PASSWORD}\n")
    authuser.chmod(0o640)
    os.chown(authuser, 0, GROUPS["nofiles"])
    subprocess.run([commands / "qmail-newu"], check=True)


def make_certificate() -> None:
    """ssl/, which belongs to the TLS processes."""
    certificate.make(SSL, HOST)
    for name in ("ssl.env", "dh1024.pem"):
        shutil.copyfile(HERE / name, SSL / name)
    for path in (SSL, *SSL.iterdir()):
        own(path, "sqmtls")


def make_services(names: list[str]) -> None:
    """/service/NAME → /var/qmail/svc/NAME with the scripts as they are (operations 1.5)."""
    for name in names:
        directory = QMAIL / "svc" / name
        (directory / "log").mkdir(parents=True)
        for script, at in ((name, "run"), ("log", "log/run")):
            shutil.copyfile(HERE / "service" / script, directory / at)
            (directory / at).chmod(0o755)
        (directory / "log" / "main").symlink_to(f"/var/log/{name}")
        (directory / "ctl").symlink_to(QMAIL / "control")
        Path("/service", name).symlink_to(directory)


def start_svscan() -> None:
    """The first one on PATH, in our environment."""
    with open("/var/log/svscan", "wb") as log:
        subprocess.Popen(["svscan", "/service"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def reap() -> None:
    """Whoever has ended; without parents processes are ours."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return


def live(sock: socket.socket, deadline: float) -> None:
    """Answer DNS and reap until nobody wants the world any more."""
    while time.monotonic() < deadline:
        ready, _, _ = select.select([0, sock.fileno()], [], [], TICK)
        if 0 in ready and not os.read(0, 4096):
            return
        if sock.fileno() in ready:
            query, client = sock.recvfrom(4096)
            sock.sendto(zone.answer(query), client)
        reap()


def main(words: list[str]) -> None:
    """Until the end of the world."""
    deadline = time.monotonic() + float(words[2])
    root, commands = Path(words[0]), Path(words[1])
    os.umask(0o022)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    build_root(root)
    enter(root)
    make_home(commands)
    make_services(words[3:])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 53))
        start_svscan()
        print("ready", flush=True)
        live(sock, deadline)


if __name__ == "__main__":
    main(sys.argv[1:])
