"""What `scripts/evaluate_*.py` measure: methods by the pocket models, on people nobody trained on.

Apart from the methods' own folders, whose code decides pictures and stands in their fingerprints.
"""
