"""The agent's figures for Prometheus, read when they are asked for; nothing is counted twice.

Text format 0.0.4. Everything is named weft_…; counters of packets and octets come from the datapath at that moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from weft.agent.agent import Agent
from weft.model.errors import WeftError
from weft.plan.node import NodePlan, Observed

_TRAFFIC = ("receive_packets", "receive_bytes", "transmit_packets", "transmit_bytes")


class AgentCollector(Collector):
    """What one agent knows of itself."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> Iterable[Metric]:
        yield from self._state()
        yield from self._objects()
        yield from self._traffic()

    def _state(self) -> Iterator[Metric]:
        agent, status, contact = self._agent, self._agent.status, self._agent.contact
        info = GaugeMetricFamily("weft_agent_info", "The agent, always 1", labels=("node", "version", "datapath"))
        info.add_metric((agent.node, status.version, status.datapath), 1)
        yield info
        gauges = {
            "weft_agent_up": ("Its loop works or rests, and does not hang", agent.progressing()),
            "weft_in_sync": ("The datapath holds the plan", status.in_sync),
            "weft_errors": ("Reasons why it does not", len(status.errors)),
            "weft_fights": ("Objects that another program keeps changing", len(agent.drift.fights())),
            "weft_store_up": ("The store can be read and written", not contact.error),
            "weft_store_lag_seconds": (
                "Since the store last answered; renews every 5 s",
                agent.now() - contact.current,
            ),
            "weft_store_revision": ("The store revision that was dealt with", status.revision),
            "weft_apply_seconds": ("How long the last apply took", agent.apply_seconds),
        }
        for name, (what, value) in gauges.items():
            yield GaugeMetricFamily(name, what, value)
        yield CounterMetricFamily("weft_drift", "Objects that others changed and weft put back", status.drift)
        yield CounterMetricFamily("weft_operations", "Operations applied since start", status.operations)
        told = CounterMetricFamily("weft_store_bytes", "Keys and values that the store has told", labels=("by",))
        for by, octets in agent.follower.octets.items():
            told.add_metric((by,), octets)
        yield told

    def _objects(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("weft_objects", "Planned, and there when last looked at", labels=("kind", "state"))
        for state, where in (("planned", self._agent.plan), ("actual", self._agent.seen)):
            for kind, count in _counts(where).items():
                family.add_metric((kind, state), count)
        yield family

    def _traffic(self) -> Iterator[Metric]:
        try:
            counters = self._agent.datapath.counters()
        except WeftError:
            return
        networks = {key: segment.network for key, segment in self._agent.plan.segments.items()}
        by_segment: dict[tuple[str, ...], tuple[int, ...]] = {
            (networks.get(key, ""), str(key)): values for key, values in counters.segments.items()
        }
        yield from _families("weft_port", "of a port", ("port",), {(p,): v for p, v in counters.ports.items()})
        yield from _families("weft_segment", "of a segment's tunnels", ("network", "vni"), by_segment)
        drops = CounterMetricFamily("weft_dropped_packets", "Dropped, by reason", labels=("reason",))
        for reason, count in counters.drops.items():
            drops.add_metric((reason,), count)
        yield drops


def _counts(where: NodePlan | Observed) -> dict[str, int]:
    tables = where.tables.values()
    return {
        "segment": len(where.segments),
        "port": len(where.ports),
        "fdb": sum(len(of.fdb) for of in tables),
        "neighbor": sum(len(of.neighbors) for of in tables),
        "flood": sum(len(of.flood) for of in tables),
    }


def _families(
    prefix: str, of: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], tuple[int, ...]]
) -> Iterator[Metric]:
    """One family each for packets and octets, in (into the segment) and out."""
    for place, name in enumerate(_TRAFFIC):
        family = CounterMetricFamily(f"{prefix}_{name}", f"{name.replace('_', ' ')} {of}", labels=labels)
        for label, counts in values.items():
            family.add_metric(label, counts[place])
        yield family


def registry(agent: Agent) -> Any:
    """The agent's figures and its process's (CPU seconds, resident memory, descriptors)."""
    made = CollectorRegistry()
    made.register(AgentCollector(agent))
    ProcessCollector(registry=made)
    return made


def text(of: Any) -> bytes:
    return generate_latest(of)
