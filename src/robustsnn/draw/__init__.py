"""From plain values to SVG, PDF, CSV, Markdown, LaTeX and text; what the values are about is unknown here."""
