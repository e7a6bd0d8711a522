"""The derivations to read: as text, LaTeX, or one page."""
