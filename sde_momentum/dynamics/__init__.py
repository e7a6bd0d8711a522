"""How it moves: the discrete update, its random streams, its noise-free equivalent."""
