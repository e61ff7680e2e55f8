"""Ways out: events that match a filter are posted to a URL, each at least once."""
