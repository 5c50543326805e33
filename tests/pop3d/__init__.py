"""Tests of qmail/pop3d."""
