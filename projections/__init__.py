"""What can be asked: each projection's tables, how events change them, and its queries."""
