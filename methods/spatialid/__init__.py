"""SpatialID ("Inject Where It Matters", arXiv 2602.13994): identity where it matters."""
