"""Spectrum allocation in integrated access and backhaul: environment, metrics and baselines."""
