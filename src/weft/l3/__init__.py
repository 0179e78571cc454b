"""Routers made true: namespaces, IRB interfaces, routes, neighbors, rules, NAT; the same code beside every datapath."""
