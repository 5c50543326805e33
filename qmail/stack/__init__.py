"""qmailctl: a whole mail host under one directory."""
