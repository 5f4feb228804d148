"""Resilient power control of interfering links: problem, metrics and baselines."""
