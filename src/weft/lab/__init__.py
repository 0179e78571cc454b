"""A whole fleet on one machine: hosts out of namespaces, an underlay between them, captures, expectations."""
