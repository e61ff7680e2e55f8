"""Producer formats: bytes in, valid events out, nothing else."""
