"""The claims ledger: what the papers say, as hypotheses whose decision rules stand before the data."""
