"""Benchmarks: ratios against a peer measured in the same run. `make bench` runs them all."""
