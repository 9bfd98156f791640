"""Theorems and propositions of the two papers beside measurements."""
