"""Intervals and correlations of plain numbers. No torch."""
