"""The datapath in user space: a VTEP of our own over TAP devices and UDP sockets (RFC 7348); see docs/user-vtep.md."""
