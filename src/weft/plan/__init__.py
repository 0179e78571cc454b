"""What one VTEP must know, as values: segments, ports, tables as arrays; their diff and the order of operations."""
