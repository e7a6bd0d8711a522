"""Typesetting of the derivations: as plain text, LaTeX, or one HTML page."""
