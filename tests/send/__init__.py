"""Tests of qmail-start, qmail-send and the spawners."""
