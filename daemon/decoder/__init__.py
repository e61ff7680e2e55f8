"""Decoding in a process of its own, so that it does not share the interpreter's lock."""
