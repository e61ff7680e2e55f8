"""How fast and how small: measured against raw SQLite on the same disk, in the same run."""
