"""A run as one HTML file: leaderboard, trade-offs, every picture, every failure, every definition."""

from benchmarks.report.build import write_report

__all__ = ["write_report"]
