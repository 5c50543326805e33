"""qmail-smtpd: grammar, session, policies, replies, log lines."""
