"""Tests of qmail/auth."""
