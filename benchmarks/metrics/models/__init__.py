"""The models behind the metrics, by role; each is loaded when the first picture needs it."""
