"""The projections in a process of their own."""
