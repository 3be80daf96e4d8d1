"""Training of every pocket model from nothing, on pictures that the project renders itself.

One module per model, each with a `train(...)` that runs under a wall-clock budget, resumes from its
last checkpoint and returns the figures it measured. `scripts/train_pocket.py` is the command.
"""
