"""br-phy: the NIC of the underlay inside the user-space datapath, with the VTEP address on the bridge's own port.

ovs-vswitchd, forwarding by itself, sends tunnel packets by the routes of the host, and takes a route only where it
leads to one of its own bridges. So the NIC becomes a port of br-phy, br-phy gets the NIC's MAC, and the NIC's addresses
and routes move to br-phy (and back when the last segment goes). The host's own stack, which would answer everything a
second time, is shut out at the NIC; packet sockets see frames before that. With the kernel's own datapath none of this
is needed, and nothing of it is done.

What br-phy was given stands in its external-ids: its port is ovs-vswitchd's, and comes back bare with its restart.
lib/ovs-router.c of Open vSwitch.
"""

from __future__ import annotations

import ipaddress

from weft.l2.ovs import ovsdb, routes
from weft.l2.ovs.ovsdb import Bridge
from weft.l2.ovs.switch import UNDERLAY, Snapshot, Switch
from weft.model.errors import Kind, WeftError
from weft.netlink.ethtool import set_offloads
from weft.netlink.links import Change, Link

_NIC, _ADDRESSES, _ROUTES = "weft-nic", "weft-addresses", "weft-routes"


def put(switch: Switch, vtep: str, where: str) -> None:
    """The VTEP address on br-phy, whatever was there. Raises WeftError; `where`: for whom."""
    if not switch.userspace:
        return
    bridges = switch.db.bridges()
    bridge = switch.own(bridges, UNDERLAY)
    if bridge is None:
        nic = _nic(switch, vtep, where)
        _check(bridges, nic)
        given = {
            _NIC: nic.name,
            _ADDRESSES: " ".join(switch.host.addresses.of(nic)),
            _ROUTES: "; ".join(routes.of(switch.host.channel, nic)),
        }
        _create(switch, nic, given)
        bridge = switch.db.bridges()[UNDERLAY]
    nic_now = switch.host.links.get(bridge.external_ids.get(_NIC, ""))
    port = switch.host.links.get(UNDERLAY)
    if nic_now is None or port is None:
        what = f"{'its port' if nic_now else bridge.external_ids.get(_NIC, 'its NIC')} is missing"
        raise WeftError(Kind.FAILED, what, where=UNDERLAY, remedy="is ovs-vswitchd running?")
    _mend(switch, bridge, nic_now, port)
    if not _holds(switch, port, vtep):
        what = f"{vtep} is not on {UNDERLAY}, which has {' '.join(switch.host.addresses.of(port)) or 'no address'}"
        raise WeftError(Kind.FAILED, what, where=where, remedy=f"ip address add {vtep}/… dev {UNDERLAY}")


def _nic(switch: Switch, vtep: str, where: str) -> Link:
    nic = switch.host.holder(vtep)
    if nic is None:
        what = f"no device holds {vtep}, so that there is no NIC to send by"
        raise WeftError(Kind.FAILED, what, where=where, remedy="give the address to a device")
    if not nic.mac or set(nic.mac) <= set("0:"):
        what = f"{vtep} is on {nic.name}, which is no Ethernet device"
        raise WeftError(Kind.UNSUPPORTED, what, where=where, remedy="put the VTEP address on the NIC of the underlay")
    return nic


def _check(bridges: dict[str, Bridge], nic: Link) -> None:
    holder = next((bridge.name for bridge in bridges.values() if nic.name in bridge.ports), None)
    if holder is not None or nic.master:
        what = f"it belongs to {'bridge ' + holder if holder else 'another bridge or bond'} already"
        raise WeftError(Kind.FAILED, what, where=nic.name, remedy="give the VTEP address to a NIC of its own")


def _create(switch: Switch, nic: Link, given: dict[str, str]) -> None:
    operations = ovsdb.add_bridge(
        UNDERLAY,
        {"mtu_request": nic.mtu},
        datapath_type="netdev",
        fail_mode="standalone",
        other_config={"hwaddr": nic.mac},
        external_ids=switch.mark("bridge", UNDERLAY, **given),
    )
    mark = switch.mark("nic", nic.name)
    switch.db.commit(*operations, *ovsdb.add_port(ovsdb.named(UNDERLAY), nic.name, {"external_ids": mark}, {}))


def _mend(switch: Switch, bridge: Bridge, nic: Link, port: Link) -> None:
    """Addresses and routes where they belong. What agrees is left alone."""
    if nic.name not in bridge.ports:
        mark = switch.mark("nic", nic.name)
        switch.db.commit(*ovsdb.add_port(bridge.uuid, nic.name, {"external_ids": mark}, {}))
    if bridge.other_config.get("hwaddr") != nic.mac:
        switch.db.commit(ovsdb.put_keys("Bridge", bridge.uuid, "other_config", {"hwaddr": nic.mac}))
    host = switch.host
    set_offloads(nic.name, False, host.namespace)  # joined or unfinished packets would be sent on as they are
    switch.ingress.shut(nic.name)
    if not port.up or port.addrgen not in (None, 1):
        host.links.change(port, Change(up=True, quiet=True))
    host.quiet(UNDERLAY)
    wanted, there = _given(bridge, _ADDRESSES), host.addresses.of(port)
    for text in host.addresses.of(nic):
        if text in wanted:
            host.addresses.delete(nic, text)
    for text in wanted:
        if text not in there:
            host.addresses.add(port, text)
    found = routes.of(host.channel, port)
    for route in _given(bridge, _ROUTES, "; "):
        if route not in found:
            routes.add(host.channel, port, route)


def _given(bridge: Bridge, key: str, between: str = " ") -> tuple[str, ...]:
    text = bridge.external_ids.get(key, "")
    return tuple(text.split(between)) if text else ()


def _holds(switch: Switch, port: Link, vtep: str) -> bool:
    wanted = ipaddress.ip_address(vtep)
    return any(ipaddress.ip_interface(text).ip == wanted for text in switch.host.addresses.of(port))


def flaws(switch: Switch, snapshot: Snapshot, vtep: str) -> list[str]:
    """What is wrong with the way of this VTEP's packets."""
    if not switch.userspace:
        return []
    bridge, port = snapshot.bridges.get(UNDERLAY), snapshot.links.get(UNDERLAY)
    if bridge is None or port is None or switch.ours(bridge.external_ids, "bridge") is None:
        return [f"{UNDERLAY} is missing"]
    nic = snapshot.links.get(bridge.external_ids.get(_NIC, ""))
    if nic is None or nic.name not in bridge.ports:
        return [f"{UNDERLAY} has no NIC"]
    found = [] if port.up else [f"{UNDERLAY} is down"]
    if port.mac != nic.mac:
        found.append(f"{UNDERLAY} has not the MAC of {nic.name}")
    if nic.name not in snapshot.shut:
        found.append(f"the host's own stack hears {nic.name}")
    there = snapshot.addresses.get(port.index, ())
    lost = [text for text in _given(bridge, _ADDRESSES) if text not in there]
    if lost:
        found.append(f"{UNDERLAY} lost {' '.join(lost)}")
    elif not any(text.partition("/")[0] == vtep for text in there):
        found.append(f"{UNDERLAY} does not hold {vtep}")
    twice = [text for text in snapshot.addresses.get(nic.index, ()) if text in _given(bridge, _ADDRESSES)]
    if twice:
        found.append(f"{nic.name} has {' '.join(twice)} as well, which nobody answers there")
    gone = set(_given(bridge, _ROUTES, "; ")) - set(routes.of(switch.host.channel, port))
    found += [f"route {route} is missing" for route in sorted(gone)]
    return found


def nic(switch: Switch, bridges: dict[str, Bridge]) -> str | None:
    """The NIC in our br-phy."""
    bridge = bridges.get(UNDERLAY)
    ours = bridge is not None and switch.ours(bridge.external_ids, "bridge") is not None
    return bridge.external_ids.get(_NIC) if bridge and ours else None


def drop(switch: Switch) -> None:
    """The NIC as it was, with its addresses and routes; br-phy is gone unless somebody else has a port in it."""
    bridges = switch.db.bridges()
    bridge, name = bridges.get(UNDERLAY), nic(switch, bridges)
    if bridge is None or name is None:
        return
    host = switch.host
    foreign = set(bridge.ports) - {UNDERLAY, name}
    if foreign:
        what = f"{', '.join(sorted(foreign))} is a port of it and not weft's, so that it stays"
        raise WeftError(Kind.FAILED, what, where=UNDERLAY, remedy=f"ovs-vsctl del-port {sorted(foreign)[0]}")
    port, device = host.links.get(UNDERLAY), host.links.get(name)
    if port is not None:
        host.addresses.make(port, (), host.addresses.of(port))
    switch.db.commit(ovsdb.drop_bridge(bridge))
    if device is None:
        return
    for text in _given(bridge, _ADDRESSES):
        host.addresses.add(device, text)
    for route in _given(bridge, _ROUTES, "; "):
        routes.add(host.channel, device, route)
    switch.ingress.open(name)
