"""What all rooms stand on: errors, units, files, seeds, and the protocols between rooms."""
