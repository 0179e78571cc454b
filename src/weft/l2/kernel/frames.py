"""Frames put into a segment by hand: AF_PACKET on the vxlan device reaches tunnels, on a port's device that port."""

from __future__ import annotations

from collections.abc import Mapping

from weft.l2 import names
from weft.l2.datapath import ToPorts, ToTunnels
from weft.l2.kernel.host import Host
from weft.l2.names import DeviceKind
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey


def inject(host: Host, segment: SegmentKey, frame: bytes, to: ToPorts | ToTunnels, local: Mapping[str, str]) -> None:
    """`frame`: from the destination MAC on, without checksum. Raises WeftError.

    The host's own stack cannot be reached this way: a host port is left out, and refused if it is the one named.
    `local`: devices of the segment's ports as observed, by port; where it names none they are looked for.
    """
    if isinstance(to, ToTunnels):
        if to.vtep is not None:
            what = "a frame cannot be sent to one VTEP alone"
            raise WeftError(Kind.UNSUPPORTED, what, where=names.vxlan(segment), remedy="send it to every VTEP")
        devices = [names.vxlan(segment)]
    else:
        known = [name for port, name in local.items() if to.port == port or (to.port is None and "/" not in port)]
        devices = known or _ports(host, segment, to.port)
    for device in devices:
        try:
            host.raw.sendto(frame, (device, 0))
        except OSError as error:
            what = f"cannot send a frame: {(error.strerror or '').lower()}"
            raise WeftError(Kind.FAILED, what, where=device) from error


def _ports(host: Host, segment: SegmentKey, port: str | None) -> list[str]:
    bridge = host.own(names.bridge(segment), "bridge")
    if bridge is None:
        raise WeftError(Kind.NOT_FOUND, "the segment is not here", where=names.bridge(segment))
    found: list[str] = []
    for link in host.links.dump(master=bridge.index):
        alias = host.alias(link)
        if alias and alias.kind is DeviceKind.PORT and (alias.name == port or (port is None and "/" not in alias.name)):
            found.append(link.name)
    if port is not None and not found:
        raise WeftError(Kind.UNSUPPORTED, "no device of the segment leads to this port", where=f"port {port}")
    return found
