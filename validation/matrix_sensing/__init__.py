"""Matrix sensing: a sweep of convergence times over learning rate and momentum, against the predictions."""
