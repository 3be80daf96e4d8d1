"""Textual Inversion (arXiv 2208.01618): a word for a person, learned by denoising their photograph."""
