"""What the forwarder holds of one IP tunnel."""

from __future__ import annotations

from ipaddress import IPv4Address

from weft.l2.user.device import Device
from weft.l2.user.iptunnel.routes import Routes
from weft.l2.user.underlay import Underlay
from weft.plan.iptunnel import IpTunnel


class TunnelState:
    """`own`, `address`: the device's address, as text and as number. `gone`: why the device does not answer."""

    def __init__(self, tunnel: IpTunnel, device: Device, underlay: Underlay) -> None:
        self.device, self.underlay = device, underlay
        self.routes = Routes()
        self.gone = ""
        self.state(tunnel)

    def state(self, tunnel: IpTunnel) -> None:
        """The tunnel as it is wanted now."""
        self.tunnel = tunnel
        self.own = tunnel.address.split("/")[0]
        self.address = int(IPv4Address(self.own))
