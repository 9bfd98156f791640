"""What several studies need: sums over samples, intervals, norms, passes of one sample at a time."""
