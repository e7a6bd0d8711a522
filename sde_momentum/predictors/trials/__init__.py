"""Trials: short runs of the training itself at several momenta, from which the fastest is found [theory: Ways to predict]."""
