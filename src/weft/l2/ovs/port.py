"""Local ports: put, dropped, read back; one section per kind of attachment. All are ports of br-int with their
segment's local tag.

host       an internal port with the port's MAC and addresses, named as the kernel's datapath names the segment's bridge
namespace  a veth pair, as in the kernel's datapath, with the far end's offloads off: what the far end leaves unfinished
           (a checksum, a 64 KiB packet) is sent as it is: pings pass, TCP hangs
tap        a persistent TAP device, for a virtual machine to open
interface  a device of the host, and released again
Devices say whose they are by alias, as in the kernel's datapath; an internal port, whose device is ovs-vswitchd's, by
its interface's external-ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from weft.l2 import names
from weft.l2.kernel import port as kernel
from weft.l2.kernel import port_state
from weft.l2.kernel.host import Snapshot as HostSnapshot
from weft.l2.kernel.host import ordered
from weft.l2.names import DeviceKind
from weft.l2.ovs import ovsdb
from weft.l2.ovs.ovsdb import Bridge, Operation
from weft.l2.ovs.ovsdb import Port as Row
from weft.l2.ovs.switch import INTEGRATION, Snapshot, Switch
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.model.port import Attach, AttachKind
from weft.netlink.ethtool import offloads, set_offloads
from weft.netlink.links import Change
from weft.netlink.nft import Suppression
from weft.plan.port import LocalPort

_KIND = "port"


def device(switch: Switch, port: LocalPort) -> str:
    """The name of the port's device, in the host and in br-int."""
    return kernel.device(switch.host, port)


def prepare(switch: Switch, port: LocalPort) -> None:
    """The device as stated, before it becomes a port of br-int. Raises WeftError."""
    _PREPARE[port.attach.kind](switch, port)
    switch.host.declared[port.name] = port.addresses


def rows(switch: Switch, bridges: dict[str, Bridge], port: LocalPort, tag: int) -> list[Operation]:
    """What makes the device a port of br-int, and the port of this name that stood elsewhere none any more."""
    bridge = bridges[INTEGRATION]
    name = device(switch, port)
    mark = _mark(switch, port)
    interface = _interface(port) | {"external_ids": mark}
    columns = {"tag": tag, "external_ids": mark, "protected": port.isolated}
    operations = [
        ovsdb.drop_port(bridge.uuid, row)
        for row in bridge.ports.values()
        if row.name != name and switch.ours(row.external_ids, _KIND) == port.name
    ]
    found = bridge.ports.get(name)
    if found is None:
        elsewhere = next((other.name for other in bridges.values() if name in other.ports), None)
        if elsewhere:
            what = f"{name} is a port of bridge {elsewhere} already"
            raise WeftError(Kind.FAILED, what, where=f"port {port.name}", remedy=f"ovs-vsctl del-port {name}")
        return [*operations, *ovsdb.add_port(bridge.uuid, name, columns, interface)]
    if switch.ours(found.external_ids, _KIND) is None:
        what = f"a port {name} that is not weft's stands in {INTEGRATION}"
        raise WeftError(Kind.FAILED, what, where=f"port {port.name}", remedy=f"ovs-vsctl del-port {name}")
    operations.append(ovsdb.update("Port", found.uuid, **columns))
    operations += [ovsdb.update("Interface", each.uuid, **interface) for each in found.interfaces]
    return operations


def finish(switch: Switch, port: LocalPort) -> None:
    """What can be stated of the device only now. Raises WeftError."""
    link = switch.host.links.get(device(switch, port))
    if link is None:
        what = f"ovs-vswitchd has not made {device(switch, port)}"
        raise WeftError(Kind.FAILED, what, where=f"port {port.name}", remedy="see its log")
    if port.attach.kind is AttachKind.HOST:
        switch.host.links.change(link, Change(up=True, quiet=True))
        switch.host.addresses.make(link, port.addresses, switch.host.addresses.of(link))
        switch.host.quiet(link.name)
    else:
        switch.ingress.shut(link.name)


def drop(switch: Switch, ports: Iterable[LocalPort]) -> None:
    """Takes ports away, and with them only what we made. Raises WeftError."""
    bridge = switch.db.bridges().get(INTEGRATION)
    gone = list(ports)
    names_of = {port.name for port in gone}
    if bridge is not None:
        rows = [row for row in bridge.ports.values() if switch.ours(row.external_ids, _KIND) in names_of]
        switch.db.commit(*(ovsdb.drop_port(bridge.uuid, row) for row in rows))
    with switch.host.together():
        for port in gone:
            if port.attach.kind is AttachKind.INTERFACE:
                switch.ingress.open(device(switch, port))
            if port.attach.kind is not AttachKind.HOST:
                kernel.drop(switch.host, port)
            switch.host.declared.pop(port.name, None)


def _mark(switch: Switch, port: LocalPort) -> dict[str, str]:
    told = {"weft-segment": f"{port.segment.udp_port}/{port.segment.vni}"}
    if port.attach.kind is AttachKind.HOST:
        told |= {"weft-addresses": " ".join(port.addresses), "weft-interface": port.attach.interface}
    return switch.mark(_KIND, port.name, **told)


def _interface(port: LocalPort) -> dict[str, object]:
    if port.attach.kind is AttachKind.HOST:
        return {"type": "internal", "mac": port.mac, "mtu_request": port.mtu}
    return {"type": ""}


def _prepare_host(switch: Switch, port: LocalPort) -> None:
    link = switch.host.links.get(device(switch, port))
    if link is not None and link.alias:
        what = "a device of the kernel's datapath stands where this port's must stand"
        remedy = "end that datapath first: weft agent --datapath kernel --cleanup"
        raise WeftError(Kind.FAILED, what, where=link.name, remedy=remedy)


def _prepare_namespace(switch: Switch, port: LocalPort) -> None:
    link = kernel.put_pair(switch.host, port)
    switch.host.links.change(link, Change(up=True))
    switch.host.quiet(link.name)
    set_offloads(link.name, False, switch.host.namespace)
    set_offloads(port.attach.interface, False, switch.host.ports(port.attach.target))


def _prepare_tap(switch: Switch, port: LocalPort) -> None:
    link = kernel.put_tap_device(switch.host, port)
    switch.host.links.change(link, Change(mtu=port.mtu, alias=kernel.alias(switch.host, port), quiet=True))
    switch.host.links.change(link, Change(up=True))
    switch.host.quiet(link.name)


def _prepare_interface(switch: Switch, port: LocalPort) -> None:
    link, alias = kernel.take_interface(switch.host, port)
    switch.host.links.change(link, Change(alias=alias, up=True))
    set_offloads(link.name, False, switch.host.namespace)


_PREPARE: dict[AttachKind, Callable[[Switch, LocalPort], None]] = {
    AttachKind.HOST: _prepare_host,
    AttachKind.NAMESPACE: _prepare_namespace,
    AttachKind.TAP: _prepare_tap,
    AttachKind.INTERFACE: _prepare_interface,
}


# Read back


def read(
    switch: Switch, snapshot: Snapshot, tags: dict[SegmentKey, int]
) -> tuple[dict[str, LocalPort], dict[str, tuple[str, ...]]]:
    """Our ports with their flaws."""
    bridge = snapshot.bridges.get(INTEGRATION)
    in_bridge = bridge.ports if bridge else {}
    host = HostSnapshot(list(snapshot.links.values()), snapshot.addresses, Suppression(), {})
    insides = port_state.Insides()
    ports: dict[str, LocalPort] = {}
    flaws: dict[str, tuple[str, ...]] = {}
    for row in in_bridge.values():
        found = _read_host(switch, snapshot, row)
        if found is not None:
            port, wrong = replace(found[0], isolated=row.protected), found[1]
            _take(ports, flaws, port, [*wrong, *_row_flaws(port, row, tags)])
    for link in host.links:
        alias = switch.host.alias(link) if link.alias else None
        if alias is None or alias.kind is not DeviceKind.PORT:
            continue
        seen = port_state.read_device(switch.host, host, link, alias, insides)
        if seen is None:
            continue
        plugged = in_bridge.get(link.name)
        port, wrong = replace(seen[0], isolated=plugged is not None and plugged.protected), seen[1]
        wrong += _row_flaws(port, plugged, tags)
        if not link.up:
            wrong.append(f"{link.name} is down")
        if link.name not in snapshot.shut:
            wrong.append(f"the host's own stack hears {link.name}")
        if port.attach.kind is AttachKind.NAMESPACE and not wrong:
            wrong += _offload_flaws(switch, port)
        _take(ports, flaws, port, wrong)
    return ports, flaws


def _take(ports: dict[str, LocalPort], flaws: dict[str, tuple[str, ...]], port: LocalPort, wrong: list[str]) -> None:
    if port.name in ports:
        wrong.append("it stands on two devices")
    ports[port.name] = port
    if wrong:
        flaws[port.name] = (*flaws.get(port.name, ()), *wrong)


def _read_host(switch: Switch, snapshot: Snapshot, row: Row) -> tuple[LocalPort, list[str]] | None:
    name = switch.ours(row.external_ids, _KIND)
    key = names.key_of(row.name)
    if name is None or key is None or not row.interfaces or not row.name.startswith("wb"):
        return None
    told, link = row.external_ids, snapshot.links.get(row.name)
    declared = tuple(told.get("weft-addresses", "").split())
    attach = Attach(kind=AttachKind.HOST, interface=told.get("weft-interface", "eth0"))
    if link is None:
        return LocalPort(name, key, attach, "", declared, 0), [f"{row.name} is missing"]
    there = ordered(snapshot.addresses.get(link.index, ()), declared)
    return LocalPort(name, key, attach, link.mac, there, link.mtu), [] if link.up else [f"{row.name} is down"]


def _row_flaws(port: LocalPort, row: Row | None, tags: dict[SegmentKey, int]) -> list[str]:
    if row is None:
        return [f"it is no port of {INTEGRATION}"]
    if row.tag is None or row.tag != tags.get(port.segment):
        return [f"{row.name} has tag {row.tag}"]
    return [f"{row.name} is not open: {each.error}" for each in row.interfaces if each.ofport is None]


def _offload_flaws(switch: Switch, port: LocalPort) -> list[str]:
    inside = switch.host.ports(port.attach.target)
    if offloads(port.attach.interface, inside).get("tx-checksum"):
        return [f"{port.attach.interface} leaves checksums unfinished, so that TCP hangs"]
    return []
