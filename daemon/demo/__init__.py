"""Sample files of the demo, in the formats of real producers, and the script that makes them."""
