"""Read run folders, write one self-contained page about them. Needs no torch: only saved files."""
