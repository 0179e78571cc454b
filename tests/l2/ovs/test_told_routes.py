"""What ovs-vswitchd is told of routes, from what it shows to what is said."""

from __future__ import annotations

from weft.l2.ovs import told_routes
from weft.l2.ovs.routes import NextHop
from weft.l2.ovs.told_routes import Told

SHOWN = """Route Table:
User: 192.168.33.13/32 dev br-phy SRC 192.168.33.12
User: 192.168.34.1/32 dev br-phy GW 192.168.33.254 SRC 192.168.33.12
User: 2001:db8::2/128 dev br-phy SRC 2001:db8::1
User: 10.0.0.0/8 dev br-phy SRC 192.168.33.12
User: 10.1.1.1/32 dev eth7 SRC 10.1.1.2
"""


class Control:
    def __init__(self) -> None:
        self.said: list[str] = []

    def call(self, *words: str) -> str:
        self.said.append(" ".join(words))
        return "OK"


def test_routes_to_vteps_are_told_where_they_differ() -> None:
    told = told_routes.parse(SHOWN, "br-phy")
    assert told.hops == {
        "192.168.33.13": "192.168.33.13",
        "192.168.34.1": "192.168.33.254",
        "2001:db8::2": "2001:db8::2",
    }
    assert set(told.sources.values()) == {"192.168.33.12", "2001:db8::1"}
    hops = [
        NextHop("192.168.33.13", "192.168.33.13", 1),
        NextHop("192.168.34.1", "192.168.33.253", 1),
        NextHop("2001:db8::3", "2001:db8::3", 1),
    ]
    control = Control()
    told_routes.tell(control, "br-phy", hops, told)  # type: ignore[arg-type]
    assert control.said == [
        "ovs/route/add 192.168.34.1/32 br-phy 192.168.33.253",
        "ovs/route/add 2001:db8::3/128 br-phy",
    ]
    control = Control()
    told_routes.tell(control, "br-phy", [], told)  # type: ignore[arg-type]
    assert control.said == [], "to delete one would make it forget its tunnels"
    told_routes.forget(control, told)  # type: ignore[arg-type]
    assert len(control.said) == 3
    assert all(each.startswith("ovs/route/del ") for each in control.said)
    assert Told().system
