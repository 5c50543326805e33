"""Tests of qserver/net."""
