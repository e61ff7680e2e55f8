"""The daemon's own housekeeping: tasks, when each of them is due, and how each run went."""
