"""qmail-send: scheduler, todo, channels, bounces; the spawners."""
