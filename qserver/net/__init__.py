"""Addresses, the pre-fork pool, rules, look-ups."""
