"""Benchmarks that reconstruct: tables beside published ones, and ablations."""
