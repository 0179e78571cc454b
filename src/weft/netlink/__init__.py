"""The kernel's configuration socket: links, addresses, neighbors, FDB rows, nftables and namespaces."""
