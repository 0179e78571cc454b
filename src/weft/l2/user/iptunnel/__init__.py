"""IP tunnels on the forwarder: a TUN device, IPv4 packets bare in UDP, a socket for both ways (docs/flannel-udp.md)."""
