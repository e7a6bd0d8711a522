"""The manifold of minimizers: its points with their curvatures, how to move along it, and the normal modes on the way."""
