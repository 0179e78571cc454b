"""The subnet file to the octet, and what a broken one says."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from weft.peering.flannel import subnet_file
from weft.peering.flannel.config import parse
from weft.peering.flannel.lease import Lease
from weft.peering.flannel.subnet_file import Remembered


def test_ipv4() -> None:
    config = parse(b'{"Network":"10.5.0.0/16"}')
    assert subnet_file.text(config, Lease(IPv4Network("10.5.60.0/24")), 1450, True) == (
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.60.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )


def test_dual_stack(tmp_path: Path) -> None:
    config = parse(b'{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}')
    own = Lease(IPv4Network("10.5.60.0/24"), IPv6Network("fc00:0:0:9::/64"))
    told = subnet_file.text(config, own, 1430, False)
    assert told == (
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.60.1/24\n"
        "FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00:0:0:9::1/64\nFLANNEL_MTU=1430\nFLANNEL_IPMASQ=false\n"
    )
    file = tmp_path / "run" / "subnet.env"
    assert subnet_file.write(file, told, 0x1234)
    assert file.read_text() == told
    assert subnet_file.read(file) == Remembered(own.subnet, own.subnet6, 0x1234)
    assert not subnet_file.write(file, told, 0x1234)
    subnet_file.forget(file)
    assert subnet_file.read(file) == Remembered(own.subnet, own.subnet6, 0)


def test_what_cannot_be_used_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "subnet.env"
    assert subnet_file.read(file) == Remembered()
    file.write_bytes(b"\xff\xfe")
    assert subnet_file.read(file) == Remembered()
    file.write_text('# a comment\nexport FLANNEL_SUBNET="10.2.5.1/24"  # mine\nFLANNEL_IPV6_SUBNET=x\nodd')
    file.with_name("subnet.env.lease").write_text("nothing")
    assert subnet_file.read(file) == Remembered(IPv4Network("10.2.5.0/24"), None, 0)
