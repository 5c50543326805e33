"""The run scripts of an existing s/qmail installation, and a world of its own in which they run as root."""
