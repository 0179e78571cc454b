"""IP tunnels as seen from outside of the forwarder: what is there, changes, what happened, counters.

Nothing is remembered here; no forwarder means that nothing is there, so that the next diff makes all of it again.
"""

from __future__ import annotations

from collections.abc import Sequence

from weft.l2.datapath import Counters
from weft.l2.user import control
from weft.l2.user.client import Client
from weft.model.errors import WeftError
from weft.plan.iptunnel import TunnelOperation, TunnelPlan


class IpTunnels:
    """Of the forwarder that a cluster has on a host; a cluster of their own gives them a forwarder of their own.

    `host`: the named network namespace that they live in, None for the process's own.
    """

    def __init__(self, cluster: str, host: str | None = None) -> None:
        self._client = Client(cluster, host, workers=1)

    @property
    def pid(self) -> int | None:
        """The forwarder's process, None where none runs."""
        return self._client.pid

    def observe(self) -> dict[str, TunnelPlan]:
        """Tunnels by device. Raises WeftError."""
        answer = self._client.ask(control.Observe(), start=False)
        held = answer.tunnels if isinstance(answer, control.State) else ()
        return {each.tunnel.device: TunnelPlan(each.tunnel, each.routes.rows(), each.flaws) for each in held}

    def apply(self, operations: Sequence[TunnelOperation]) -> list[tuple[TunnelOperation, WeftError]]:
        """Those that failed. Raises WeftError where there is no forwarder and none starts."""
        if not operations:
            return []
        failed = self._client.change(tuple(control.tunnel_step(each) for each in operations))
        return [(operations[index], error) for index, error in sorted(failed.items())]

    def events(self) -> list[str]:
        """What happened to them without us, in words."""
        return [event.what for event in self._client.events()]

    def events_fd(self) -> int:
        """Readable when `events` has something."""
        return self._client.events_fd()

    def counters(self) -> Counters:
        """Packets and octets by device; drops by reason."""
        answer = self._client.ask(control.Count(), start=False)
        if not isinstance(answer, control.Counts):
            return Counters()
        return Counters(answer.ports, dict(answer.segments), answer.drops)

    def close(self) -> None:
        """The tunnels go on."""
        self._client.close()

    def stop(self) -> None:
        """Ends the forwarder and its tunnels; none there is no error."""
        self._client.stop()
