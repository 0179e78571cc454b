"""Out of tunnels to devices: trains of datagrams become frames."""
