"""Other control planes that Weft speaks beside its own."""
