"""Firing rates, operations and energy of one inference."""
