"""TLS: contexts, the pump between an encrypted socket and two descriptors, certificates as mod_ssl variables."""
