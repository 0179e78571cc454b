"""The node plan: everything one VTEP must know; and the same picture as observed."""

from __future__ import annotations

from dataclasses import dataclass, field

from weft.model.network import SegmentKey
from weft.plan.port import LocalPort
from weft.plan.router import Router, RouterDevice
from weft.plan.segment import Segment
from weft.plan.tables import Tables


@dataclass(frozen=True, slots=True)
class NodePlan:
    """Every key of `tables` is one of `segments`; ports may stand only in segments of the plan.

    `routers` by name; `router_tables` by router and device. An IRB's device is one of `ports`.
    """

    node: str
    segments: dict[SegmentKey, Segment] = field(default_factory=dict)
    tables: dict[SegmentKey, Tables] = field(default_factory=dict)
    ports: dict[str, LocalPort] = field(default_factory=dict)
    routers: dict[str, Router] = field(default_factory=dict)
    router_tables: dict[RouterDevice, Tables] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """What a datapath holds that is provably ours, in the plan's own terms.

    `flaws`: for segments, ports and (device "") routers, by key or name, what is wrong with them beyond the plan's
    attributes ("wx5000 is down", "not in wb5000"); each is mended by putting the object again. `learned`: rows that
    the datapath found by itself in data-plane segments (tables hold static rows only).
    """

    segments: dict[SegmentKey, Segment] = field(default_factory=dict)
    tables: dict[SegmentKey, Tables] = field(default_factory=dict)
    ports: dict[str, LocalPort] = field(default_factory=dict)
    flaws: dict[SegmentKey | str | RouterDevice, tuple[str, ...]] = field(default_factory=dict)
    learned: dict[SegmentKey, Tables] = field(default_factory=dict)
    routers: dict[str, Router] = field(default_factory=dict)
    router_tables: dict[RouterDevice, Tables] = field(default_factory=dict)
