"""Randomised smoothing: how far the answer of a network under noise is certain, and where an attack changes it."""
