"""Starts the contenders: ours from .venv/bin, the peers from Debian's packages, each with its own configuration."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BIN = Path(sysconfig.get_path("scripts"))
PEER_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
HOST = "127.0.0.1"


class Missing(Exception):
    """A peer is not installed, or needs root; the text says which. Its row is left out with that reason."""


def peer(name: str) -> str:
    """Path of a peer program. Raises Missing."""
    path = shutil.which(name, path=PEER_PATH)
    if path is None:
        raise Missing(f"not installed: {name}")
    return path


def need_root(what: str) -> None:
    """Raises Missing for anyone else."""
    if os.geteuid() != 0:
        raise Missing(f"needs root: {what}")


def free_port() -> int:
    """A port that the kernel finds free."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def environment(**extra: str) -> dict[str, str]:
    """Ours first on PATH."""
    return {"PATH": f"{BIN}:{PEER_PATH}", "HOME": "/tmp", **extra}


def wait_port(port: int, seconds: float = 15) -> None:
    """Wait until something listens there."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextmanager
def running(argv: list[str], port: int, env: dict[str, str], cwd: str | None = None) -> Iterator[int]:
    """A server until the block ends; yields its pid."""
    process = subprocess.Popen(
        argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
        stderr=subprocess.DEVNULL if not os.environ.get("BENCH_DEBUG") else None,
    )  # fmt: skip
    try:
        wait_port(port)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


@contextmanager
def tcpserver(program: list[str], *, ours: bool, options: list[str] | None = None, **env: str) -> Iterator[tuple[int, int]]:
    """Our tcpserver or Debian's around a program; yields (port, pid)."""
    port = free_port()
    server = str(BIN / "tcpserver") if ours else peer("tcpserver")
    argv = [server, "-q", "-RHl", "localhost", "-c", "500", "-b", "512", *(options or []), HOST, str(port), *program]
    with running(argv, port, environment(**env)) as pid:
        yield port, pid


POSTFIX_MASTER = """\
{host}:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
POSTFIX_MAIN = """\
compatibility_level = 3.6
queue_directory = {top}/spool
data_directory = {top}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {top}/log
maillog_file_prefixes = {top}
inet_interfaces = {host}
inet_protocols = ipv4
myhostname = mail.example.test
mydestination = example.test
mynetworks = 127.0.0.0/8
local_recipient_maps =
alias_maps =
smtpd_peername_lookup = no
smtpd_data_restrictions = check_client_access static:HOLD
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
smtpd_tls_security_level = none
default_process_limit = 100
"""


@contextmanager
def postfix(top: Path) -> Iterator[int]:
    """Postfix's smtpd and cleanup into the hold queue (queued durably, not delivered); yields its port."""
    program = peer("postfix")
    need_root("postfix")
    port = free_port()
    config = top / "etc"
    for name in ("etc", "spool", "data"):
        (top / name).mkdir(parents=True)
    top.chmod(0o755)
    shutil.chown(top / "data", "postfix")
    (config / "master.cf").write_text(POSTFIX_MASTER.format(host=HOST, port=port))
    (config / "main.cf").write_text(POSTFIX_MAIN.format(top=top, host=HOST))
    env = environment()
    # its master keeps what it is given for output: no pipe, or we would wait for its end
    null = subprocess.DEVNULL
    subprocess.run([program, "-c", str(config), "start"], env=env, check=True, stdout=null, stderr=null)
    try:
        wait_port(port)
        yield port
    finally:
        subprocess.run([program, "-c", str(config), "stop"], env=env, check=False, stdout=null, stderr=null)


@contextmanager
def aiosmtpd() -> Iterator[int]:
    """aiosmtpd's Sink."""
    port = free_port()
    argv = [str(BIN / "python"), "-m", "aiosmtpd", "-n", "-l", f"{HOST}:{port}", "-c", "aiosmtpd.handlers.Sink"]
    with running(argv, port, environment()):
        yield port


DOVECOT = """\
base_dir = {top}/run
log_path = {top}/log
protocols = pop3
listen = {host}
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{maildir}
first_valid_uid = 1
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={top}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
"""


@contextmanager
def dovecot(top: Path, maildir: Path, password: str, user: str = "nobody") -> Iterator[int]:
    """Dovecot's POP3 server over a Maildir; yields its port."""
    program = peer("dovecot")
    need_root("dovecot")
    port = free_port()
    top.mkdir(parents=True)
    top.chmod(0o755)
    account = pwd.getpwnam(user)
    for path in (maildir, *maildir.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid)
    config = top / "dovecot.conf"
    text = DOVECOT.format(
        top=top, host=HOST, maildir=maildir, password=password, uid=account.pw_uid, gid=account.pw_gid, port=port
    )
    config.write_text(text)
    with running([program, "-F", "-c", str(config)], port, environment()):
        yield port
