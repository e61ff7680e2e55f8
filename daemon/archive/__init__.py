"""The archive: jobs and their results, compressed, outside of the log."""
