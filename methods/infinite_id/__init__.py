"""Infinite-ID (arXiv 2403.11781): an identity stream that reads a text stream by mixed attention."""
