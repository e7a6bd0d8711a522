"""What moves: models f(w) with targets y, whose zero-loss set is the manifold Gamma."""
