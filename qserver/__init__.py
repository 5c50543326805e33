"""daemontools and ucspi in Python: supervision, logs, servers, rules. Knows nothing of mail."""
