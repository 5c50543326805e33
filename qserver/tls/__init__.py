"""TLS: contexts and the relay."""
