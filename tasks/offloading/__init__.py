"""Computation offloading in small cells (paper D)."""
