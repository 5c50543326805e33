"""The mail programs of s/qmail in Python, on top of `qserver`."""
