"""Judges, metrics and the protocol."""
