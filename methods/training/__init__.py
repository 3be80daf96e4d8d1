"""Training of adapters: what a method learns (`task`), and the engine behind `spid train`."""
