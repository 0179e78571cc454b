"""IP tunnels on the forwarder: a TUN device, bare IPv4 packets in UDP, one socket for both ways (docs/flannel.md)."""
