"""Redaction: a value is taken out of a recorded event, and out of everything made of it."""
