"""Flannel: its network configuration and leases in etcd v3, its vxlan and udp backends, next to its own daemon."""
