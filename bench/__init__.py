"""Benchmarks: ratios measured in one run, on whatever disk and machine they are run."""
