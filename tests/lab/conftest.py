"""Hosts on a routed underlay."""

from __future__ import annotations

ROUTED = """
nodes:
  h1: {vtep: 192.168.33.12}
  h2: {vtep: 192.168.34.13}
networks:
  blue: {vni: 5000, subnet: 10.1.1.0/24}
ports:
  a: {network: blue, node: h1, ips: [10.1.1.11], attach: {namespace: a}}
  b: {network: blue, node: h2, ips: [10.1.1.12], attach: {namespace: b}}
lab:
  underlay:
    segments: {left: 192.168.33.0/24, middle: {subnet: 192.168.50.0/24, mtu: 1400}, right: 192.168.34.0/24}
    routers: {r1: [left, middle], r2: [middle, right]}
"""
ROUTED6 = (
    ROUTED.replace("192.168.33.12", "2001:db8:33::12")
    .replace("192.168.34.13", "2001:db8:34::13")
    .replace("192.168.33.0/24", "2001:db8:33::/64")
    .replace("192.168.34.0/24", "2001:db8:34::/64")
    .replace("192.168.50.0/24", "2001:db8:50::/64")
)
