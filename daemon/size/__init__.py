"""How much room everything takes, where that leads, and what is done before the disk is full."""
