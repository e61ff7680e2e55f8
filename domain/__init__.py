"""What can happen, and what it means: pure models and folds, no I/O, no clock, no SQL."""
