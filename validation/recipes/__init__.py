"""Ordinary mini-batch training: the best momentum against the learning rate, and the accuracy that each rule of thumb loses."""
