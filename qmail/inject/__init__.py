"""Injection: reading a header, rewriting its addresses, adding what it lacks (delivery 9)."""
