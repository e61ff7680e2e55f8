"""Workflow files: reading, checking and following what they describe."""
