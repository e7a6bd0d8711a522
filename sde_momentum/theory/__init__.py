"""The theory as functions of numbers: the generated formulas, and the two timescales that they give."""
