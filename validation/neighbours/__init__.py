"""Claims of neighbouring papers, each tested by a small experiment."""
