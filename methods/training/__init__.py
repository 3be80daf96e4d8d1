"""The engine behind `spid train`; what a method learns stands in `methods.learning` and in its own folder."""
