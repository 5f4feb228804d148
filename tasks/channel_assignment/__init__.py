"""Uplink channel assignment and power control for energy efficiency."""
