"""Retention: what is due by the policies, and archiving and purging it."""
