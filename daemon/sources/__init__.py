"""Ways in that the daemon opens itself: followed files, watched folders, NATS subjects."""
