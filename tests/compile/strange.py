"""Ports and sightings as a store may hold them: plain ones, and such as columns cannot say to the letter."""

from __future__ import annotations

from hypothesis import strategies as st

from weft.model.endpoint import Endpoint
from weft.model.network import SegmentKey
from weft.model.port import Attach, AttachKind, Hosts, Port

KEYS = [SegmentKey(4789, 5000), SegmentKey(4789, 6000), SegmentKey(8472, 5000)]
PLAIN_MACS = [f"02:00:00:00:00:{n:02x}" for n in range(6)]
PLAIN_IPS = [*(f"10.1.1.{n}" for n in range(1, 6)), "2001:db8::1", "2001:db8::2", "fe80::1"]
ODD_MACS = ["02:00:00:00:00:0A", "02-00-00-00-00-01", "x", "ff:ff:ff:ff:ff:ff:ff", "0:0:0:0:0:0"]
ODD_MACS += ["00:00:00:00:00:00", "01:00:00:00:00:01"]  # plain, but no host's
ODD_IPS = ["010.1.1.1", "10.1.1", "2001:DB8::1", "::ffff:10.1.1.1", "fe80::1%eth0", "", "10.1.1.256"]
ODD_IPS += ["+1.2.3.4", "1_0.1.1.1", " 10.1.1.1", "10.1.1.-1"]
NAMES = ["a", "b", "c", "d", "ü", "a" * 300, "\0", "x/y"]
NODES = ["h1", "h2", "h3", "nobody"]

macs = st.sampled_from([*PLAIN_MACS * 3, "", *ODD_MACS])
ips = st.lists(st.sampled_from([*PLAIN_IPS * 3, *ODD_IPS]), max_size=3).map(tuple)
attaches = st.builds(
    Attach,
    kind=st.sampled_from(AttachKind),
    target=st.sampled_from(["", "t1", "t2", "lo", "a b", "t" * 40]),
    interface=st.sampled_from(["eth0", "eth0", "eth1", ""]),
    gateway=st.sampled_from(["", "", "none", "10.1.1.9", "x"]),
)
ports = st.builds(
    Port,
    name=st.sampled_from(NAMES),
    network=st.sampled_from(["blue", "blue", "green", "none"]),
    node=st.sampled_from(NODES),
    attach=attaches,
    mac=macs,
    ips=ips,
    mobile=st.booleans(),
    hosts=st.sampled_from(Hosts),
    assigned=st.sampled_from([(), (), ("mac",), ("ips",), ("mac", "ips"), ("ips", "mac"), ("other",)]),
)
endpoints = st.builds(
    Endpoint,
    key=st.sampled_from(KEYS),
    mac=macs,
    node=st.sampled_from(NODES),
    ips=ips,
    sequence=st.sampled_from([0, 1, 2, -5, 1 << 31, (1 << 64) - 1, 1 << 70]),
    source=st.sampled_from(["port", "learned", "learned", "flannel", ""]),
    port=st.sampled_from(["", "t1", "p" * 100]),
    frozen=st.booleans(),
)
