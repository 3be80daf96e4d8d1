"""Metrics that mean what they say: every number has a definition, a model tag, a direction and a range."""
