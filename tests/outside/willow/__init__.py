"""A package that robustsnn knows nothing of: one concept of each kind, as a user would write it."""
