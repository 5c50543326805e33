"""qmail-remote: routes, mail exchangers, the SMTP client."""


def preload() -> None:
    """Import, before qmail-rspawn forks its deliveries, all that one delivery uses, the DNS library included."""
    import importlib

    from qmail.remote import delivery

    delivery.preload()
    importlib.import_module("qmail.commands.qmail_remote")
