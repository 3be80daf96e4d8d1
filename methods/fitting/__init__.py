"""Fits: what methods share that learn something about one person from a picture, on first use."""
