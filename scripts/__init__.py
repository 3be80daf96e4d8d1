"""Tools of the checkout; nothing here is installed."""
