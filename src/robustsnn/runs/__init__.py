"""Runs: what a config says, built, trained, attacked and analysed in a folder; grids of them, side by side."""
