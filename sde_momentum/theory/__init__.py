"""The theory as functions of numbers: formulas generated from the derivations, and the timescales that they give."""
