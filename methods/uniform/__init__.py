"""Uniform identity cross-attention (IP-Adapter FaceID): the baseline every paper here argues against."""
