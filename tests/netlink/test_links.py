"""Link messages as pyroute2 reads them."""

from __future__ import annotations

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from weft.netlink import message as m
from weft.netlink.links import Change, Peer, Vxlan, decode


def theirs(change: Change, index: int = 0, peer: Peer | None = None) -> ifinfmsg:
    message = ifinfmsg(m.message(16, 0, 1, change.encode(index, peer)))
    message.decode()
    return message


def test_a_vxlan_device_reads_as_stated() -> None:
    info = m.u32(Vxlan.ID, 5000) + m.be16(Vxlan.PORT, 8472) + m.attribute(Vxlan.LOCAL, bytes([192, 168, 33, 12]))
    info += m.u8(Vxlan.LEARNING, 0)
    link = theirs(Change(name="wx5000", kind="vxlan", mac="02:00:00:00:00:01", mtu=1450, info=info, up=True))
    assert (link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_MTU")) == ("wx5000", 1450)
    assert link.get_attr("IFLA_ADDRESS") == "02:00:00:00:00:01"
    assert (link["flags"] & 1, link["change"]) == (1, 1)
    settings = link.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
    assert settings.get_attr("IFLA_VXLAN_ID") == 5000
    assert settings.get_attr("IFLA_VXLAN_PORT") == 8472
    assert settings.get_attr("IFLA_VXLAN_LOCAL") == "192.168.33.12"


def test_a_veth_names_its_peer_and_where_it_goes() -> None:
    link = theirs(Change(name="wp-a", kind="veth"), peer=Peer("eth0", "02:00:00:00:00:0a", 1450, 9))
    peer = link.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert peer.get_attr("IFLA_IFNAME") == "eth0"
    assert peer.get_attr("IFLA_ADDRESS") == "02:00:00:00:00:0a"
    assert peer.get_attr("IFLA_NET_NS_FD") == 9


def test_what_is_not_stated_is_not_sent() -> None:
    link = theirs(Change(master=0), index=7)
    assert [name for name, _ in link["attrs"]] == ["IFLA_MASTER"]
    assert (link["index"], link["change"]) == (7, 0)


def test_a_link_comes_back() -> None:
    stated = Change(
        name="wb1", mac="02:00:00:00:00:01", mtu=1400, alias="weft:default/network/blue", kind="bridge", up=True
    )
    link = decode(stated.encode(3))
    assert (link.index, link.name, link.kind, link.mac, link.mtu) == (3, "wb1", "bridge", "02:00:00:00:00:01", 1400)
    assert link.up
    assert link.alias == "weft:default/network/blue"
