"""One agent per node: wakes on a change, compiles, compares with what is there, and applies the difference."""
