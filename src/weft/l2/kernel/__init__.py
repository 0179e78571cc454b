"""The kernel's datapath: a segment is a bridge and a vxlan device, its tables are their FDBs and neighbor rows."""
