"""Local delivery: users, the .qmail language, Maildir and mbox writers."""
