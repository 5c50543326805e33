"""qmail-popup and qmail-pop3d: grammar, sessions, Maildir view."""
