"""What a fleet of some size costs each of its agents, measured on one machine: `weft sim`."""
