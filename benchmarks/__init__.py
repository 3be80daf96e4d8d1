"""The harness: suites, metrics, runner, statistics and reports over the methods."""
