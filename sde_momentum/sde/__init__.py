"""Stochastic differential equations of the user's own: the equation, the methods, the ensemble."""
