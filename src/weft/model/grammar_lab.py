"""The shapes of `lab:` (underlay, external hosts) and `mutations:`; those of `expect:` stand in grammar_expect."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from weft.model.address import MTU_MAX, MTU_MIN
from weft.model.grammar import InterfaceAddress
from weft.model.lab import ExternalHost, FlannelNetwork, UnderlayRouter, UnderlaySegment
from weft.model.scalar import Shape, Subnet, Text, Whole, listed


class SegmentShape(Shape):
    """One LAN of the underlay."""

    subnet: Subnet = Field(description="Its subnet: hosts with a VTEP in it join it.")
    mtu: Whole = Field(
        1500, json_schema_extra={"minimum": MTU_MIN, "maximum": MTU_MAX}, description="MTU of its links."
    )

    def value(self, name: str) -> UnderlaySegment:
        return UnderlaySegment(name=name, subnet=self.subnet, mtu=self.mtu)


class UnderlayRouterShape(Shape):
    """Joins segments."""

    segments: tuple[Text, ...] = Field(description="The segments it joins, at the last host addresses of each.")
    mtu: Whole | None = Field(
        None,
        json_schema_extra={"minimum": MTU_MIN, "maximum": MTU_MAX},
        description="MTU of its links; left out: that of each segment.",
    )

    def value(self, name: str) -> UnderlayRouter:
        return UnderlayRouter(name=name, segments=self.segments, mtu=self.mtu)


def _segment(value: Any) -> Any:
    return {"subnet": value} if isinstance(value, str) else value


def _router(value: Any) -> Any:
    return {"segments": value} if isinstance(value, list) else value


class UnderlayShape(Shape):
    """The IP network between the hosts; left out: one flat segment that holds every VTEP."""

    segments: dict[
        str, Annotated[SegmentShape, BeforeValidator(_segment, json_schema_input_type=str | SegmentShape)]
    ] = Field(default={}, description="Name → subnet, or {subnet, mtu}.")
    routers: dict[
        str,
        Annotated[
            UnderlayRouterShape, BeforeValidator(_router, json_schema_input_type=list[str] | UnderlayRouterShape)
        ],
    ] = Field(default={}, description="Name → the segments it joins, or {segments, mtu}.")


class ExternalHostShape(Shape):
    """A host without VXLAN: what a border leads to."""

    node: Text = Field(description="The node whose interface it is behind.")
    interface: Text = Field(description="That node's device towards it.")
    address: InterfaceAddress = Field(description="Its own address.", examples=["50.1.1.1/24"])

    def value(self, name: str) -> ExternalHost:
        return ExternalHost(name=name, node=self.node, interface=self.interface, address=self.address)


class FlannelShape(Shape):
    """A flannel network between hosts, with an etcd of its own on the first of them."""

    config: dict[str, Any] = Field(
        description="The network's configuration, as flannel's etcd holds it.",
        json_schema_extra={"additionalProperties": {}},
        examples=[{"Network": "10.2.0.0/16", "Backend": {"Type": "vxlan"}}],
    )
    subnets: dict[str, Subnet] = Field(
        description="Node → the subnet it asks for; the first address is `docker0`s, where its external hosts are."
    )

    def value(self) -> FlannelNetwork:
        return FlannelNetwork(config=_typed(self.config), subnets=self.subnets)


def _typed(value: Any) -> Any:
    """YAML's scalars as JSON has them: the file's reader leaves all of them texts."""
    if isinstance(value, dict):
        return {name: _typed(item) for name, item in value.items()}
    if isinstance(value, str) and (value in ("true", "false") or value.isdecimal()):
        return value == "true" if value in ("true", "false") else int(value)
    return value


class LabShape(Shape):
    """What `weft lab` builds beside the hosts."""

    underlay: UnderlayShape = Field(UnderlayShape(), description="The IP network between the hosts.")
    external: dict[str, ExternalHostShape] = Field(default={}, description="Hosts without VXLAN.")
    flannel: FlannelShape | None = Field(None, description="A flannel network; `weft flannel` runs on its hosts.")


Commands = Annotated[tuple[Text, ...], BeforeValidator(listed, json_schema_input_type=str | list[str])]
MutationShape = dict[str, Commands]
