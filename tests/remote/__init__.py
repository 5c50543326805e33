"""Tests of qmail/remote."""
