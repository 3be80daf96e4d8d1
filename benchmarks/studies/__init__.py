"""Measurements on pocket people nobody trained on that no suite's rows hold: `scripts/study.py` runs them.

What a person is shown as, where a learned word looks, what limits it, and what PIDiff's training keeps. They
judge by the harness's own definitions: one bootstrap (`benchmarks.statistics`), one head and background
(`benchmarks.metrics.leakage`), one share of attention (`attention.share_inside`).

Their records are no rows of `benchmarks.schema`: a row is one planned picture under the fingerprint of its
pixels, a record one person under one variant, with attention shares, losses and embeddings of pictures that
are not kept.
"""
