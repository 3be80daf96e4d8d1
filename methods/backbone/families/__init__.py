"""Families of backbones: what knows a kind of network by name, and the registry in front of them."""
