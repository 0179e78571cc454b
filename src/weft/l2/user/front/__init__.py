"""Several forwarding processes behind one control socket, each with its share of the networks and all their state."""
