"""Backup: the log shipped to an object store, proved there, and brought back."""
