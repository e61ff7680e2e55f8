"""Other stores and servers with the same events, each in a process of its own, if installed."""
