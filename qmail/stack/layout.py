"""Lays out a home: control files, queue, users, certificate, service directories. What is there stays as it is."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from pathlib import Path

from qmail.home import conf
from qmail.queue import layout as queue_layout
from qmail.stack import certificate, services
from qmail.stack.facts import Facts, Paths, ServiceFacts, UserFacts, load, save
from qserver.base import chain
from qserver.base.privileges import Account, account

USERS = ("alice", "bob")
DELIVERY_ACCOUNT = "nobody"
"""Who servers and deliveries become when the stack is started by root."""

RELAY_NETS = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.1/31",
    "::1/127",
    "fe80::/10",
    "fc00::/7",
    "=localhost",
)
"""Nets whose clients may relay in the rules that set-up writes (operations 1.4)."""


class Wish:
    """What the caller asked for: domain, address to listen on, ports ("free" = such as the kernel gives)."""

    def __init__(self, domain: str, address: str, free_ports: bool, user: str | None) -> None:
        self.domain = domain
        self.address = address
        self.free_ports = free_ports
        self.user = user or DELIVERY_ACCOUNT

    def host(self) -> str:
        """The stack's own host name."""
        return f"mail.{self.domain}"


def lay_out(paths: Paths, wish: Wish) -> Facts:
    """Make the home complete and return its facts (also written to stack.json). Raises OSError."""
    os.umask(0o022)
    known = load(paths)
    for directory in (paths.home, paths.qmail, paths.control, paths.service, paths.log, paths.run, paths.users):
        directory.mkdir(parents=True, exist_ok=True)
    who = identity(wish)
    _controls(paths, wish)
    queue_layout.make(str(paths.qmail), int(conf("conf-split", {"QMAILHOME": str(paths.qmail)})))
    _link_bin(paths)
    if not (paths.ssl / "localhost.pem").exists():
        certificate.make(paths.ssl, wish.host())
    facts = known or Facts(wish.domain)
    if not facts.users:
        facts.users = [_user(paths, name, wish.domain) for name in USERS]
    _accounts(paths, facts, who)
    facts.services = _services(paths, wish, facts, who)
    save(paths, facts)
    return facts


def identity(wish: Wish) -> Account | None:
    """The account that servers and deliveries take when we are root; None for anyone else. Raises LookupError."""
    if os.geteuid() != 0:
        return None
    found = account(wish.user)
    if found is None or found.uid == 0:
        raise LookupError(f"no such account, or root's: {wish.user}")
    return found


def _put(path: Path, text: str, mode: int = 0o644) -> bool:
    """Write a file unless it exists; True if written. In one step, so that an interruption leaves no half file."""
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    os.chmod(temporary, mode)
    os.replace(temporary, path)
    return True


def _controls(paths: Paths, wish: Wish) -> None:
    host, domain = wish.host(), wish.domain
    smtp_rules = "".join(f'{net}:allow,RELAYCLIENT=""\n' for net in RELAY_NETS) + "=:allow\n:deny\n"
    for name, text in {
        "me": f"{host}\n",
        "locals": f"{domain}\n{host}\nlocalhost\n",
        "rcpthosts": f"{domain}\n{host}\nlocalhost\n",
        "defaultdomain": f"{domain}\n",
        "defaulthost": f"{domain}\n",
        "plusdomain": f"{domain}\n",
        "tlsdestinations": "*:\n",
        "rules.smtpd.txt": smtp_rules,
        "rules.pop3d.txt": ":allow\n",
    }.items():
        _put(paths.control / name, text)
    for rules in ("rules.smtpd", "rules.pop3d"):
        _compile(paths.control / rules)
    for box in (".qmail-root", ".qmail-postmaster", ".qmail-mailer-daemon"):
        _put(paths.qmail / "alias" / box, "")


def _compile(rules: Path) -> None:
    """rules.X.txt → rules.X.cdb, where the text is newer."""
    text, compiled = rules.with_name(rules.name + ".txt"), rules.with_name(rules.name + ".cdb")
    if compiled.exists() and compiled.stat().st_mtime_ns > text.stat().st_mtime_ns:
        return
    with text.open("rb") as source:
        subprocess.run(
            [command("tcprules"), str(compiled), str(rules.with_name(rules.name + ".tmp"))], stdin=source, check=True
        )


def command(name: str) -> str:
    """The path of one of our commands."""
    return f"{chain.bin_directory() or '.'}/{name}"


def _link_bin(paths: Paths) -> None:
    """qmail/bin → the directory of our commands; follows a checkout that has moved."""
    link, target = paths.qmail / "bin", chain.bin_directory() or "."
    if link.is_symlink() and os.readlink(link) != target:
        link.unlink()
    if not link.exists():
        link.symlink_to(target)


def _user(paths: Paths, name: str, domain: str) -> UserFacts:
    return UserFacts(f"{name}@{domain}", secrets.token_urlsafe(9), str(paths.users / name / "Maildir"))


def _maildir(path: Path, who: Account | None) -> None:
    """A Maildir and the home it stands in, owned by the account that delivers there."""
    for directory in (path.parent, path, path / "tmp", path / "new", path / "cur"):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if who is not None:
            os.chown(directory, who.uid, who.gid)


def _accounts(paths: Paths, facts: Facts, who: Account | None) -> None:
    """users/authuser, users/assign and users/cdb, the homes and Maildirs."""
    uid, gid = (who.uid, who.gid) if who else (os.getuid(), os.getgid())
    lines = []
    for user in facts.users:
        name = user.address.partition("@")[0]
        home = paths.users / name
        _maildir(home / "Maildir", who)
        lines.append(f"={name}:{name}:{uid}:{gid}:{home}:::\n+{name}-:{name}:{uid}:{gid}:{home}:-::\n")
    alias = paths.qmail / "alias"
    _maildir(alias / "Maildir", who)
    lines.append(f"+:alias:{uid}:{gid}:{alias}:-::\n.\n")
    _put(paths.qmail / "users" / "authuser", "".join(f"{u.address}:{u.password}\n" for u in facts.users), 0o600)
    if _put(paths.qmail / "users" / "assign", "".join(lines)) or not (paths.qmail / "users" / "cdb").exists():
        subprocess.run([command("qmail-newu")], check=True, env={**chain.environment(), "QMAILHOME": str(paths.qmail)})


def _services(paths: Paths, wish: Wish, facts: Facts, who: Account | None) -> list[ServiceFacts]:
    """Service directories; a port once chosen stays with the stack."""
    known = {service.name: service for service in facts.services}
    result = []
    for service in services.SERVICES:
        if service.greeting:
            chosen = known.get(service.name) or ServiceFacts(service.name, *_listen(wish, service.name))
        else:
            chosen = ServiceFacts(service.name, "", 0)
        _service_directory(paths, wish, service, chosen, who)
        result.append(ServiceFacts(chosen.name, chosen.host, chosen.port))
    _put(paths.service / services.LOG_OF_SVSCAN / "run", _log_script(paths, "svscan"), 0o755)
    return result


def _listen(wish: Wish, name: str) -> tuple[str, int]:
    """(address clients use, port)."""
    host = "127.0.0.1" if wish.address in ("0", "0.0.0.0", "::", ":0") else wish.address
    if not wish.free_ports:
        return host, services.HIGH_PORTS[name]
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return host, int(probe.getsockname()[1])


def _service_directory(paths: Paths, wish: Wish, service: services.Service, chosen: ServiceFacts, who: Account | None) -> None:
    directory = paths.service / service.name
    line = service.line.format(
        host=wish.host(),
        address=wish.address,
        port=chosen.port,
        drop=f"-u {who.uid} -g {who.gid} " if who else "",
        delivery=services.quote(conf("conf-defaultdelivery", {"QMAILHOME": str(paths.qmail)})),
        home=services.quote(str(paths.home)),
    )
    preamble = services.PREAMBLE.format(
        path=services.quote(f"{chain.bin_directory()}:/usr/local/bin:/usr/bin:/bin"),
        qmail=services.quote(str(paths.qmail)),
    )
    _put(directory / "log" / "run", _log_script(paths, service.name), 0o755)
    _put(directory / "run", preamble + line + "\n", 0o755)


def _log_script(paths: Paths, name: str) -> str:
    return services.LOG_SCRIPT.format(
        path=services.quote(f"{chain.bin_directory()}:/usr/local/bin:/usr/bin:/bin"),
        size=services.LOG_SIZE,
        directory=services.quote(str(paths.log / name)),
    )
