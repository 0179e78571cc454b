"""Steps that change IP tunnels, made true. Each is idempotent, and fails with a WeftError by itself."""

from __future__ import annotations

import errno

from weft.l2.user import control
from weft.l2.user.engine import Engine
from weft.l2.user.iptunnel import device
from weft.l2.user.iptunnel.state import TunnelState
from weft.l2.user.underlay import Underlay
from weft.model.errors import Kind, WeftError
from weft.plan.iptunnel import IpTunnel


class TunnelChanges:
    """Used by one thread, which lives in the host's namespace."""

    def __init__(self, cluster: str, engine: Engine) -> None:
        self._cluster, self._engine, self._tunnels = cluster, engine, engine.world.tunnels

    def make(self, step: control.TunnelStep) -> None:
        """Raises WeftError, OSError."""
        match step:
            case control.SetTunnel(tunnel):
                self._set(tunnel)
            case control.UnsetTunnel(name):
                self._unset(name)
            case control.SetRoutes(name, rows):
                if name not in self._tunnels:
                    raise WeftError(Kind.FAILED, "the tunnel is not here", where=name)
                self._tunnels[name].routes.put(rows.rows())
            case control.UnsetRoutes(name, rows):
                if name in self._tunnels:
                    self._tunnels[name].routes.drop(rows.rows())

    def _set(self, tunnel: IpTunnel) -> None:
        state = self._tunnels.get(tunnel.device)
        if state is None:
            underlay = _underlay(tunnel)
            try:
                state = TunnelState(tunnel, device.make(self._cluster, tunnel), underlay)
            except BaseException:
                underlay.close()
                raise
            self._tunnels[tunnel.device] = state
            self._engine.watch_tunnel(state)
            self._engine.watch_tunnel_socket(state)
            return
        if (tunnel.local, tunnel.udp_port) != (state.tunnel.local, state.tunnel.udp_port):
            self._move(state, tunnel)
        if state.gone or any(flaw.endswith("is gone") for flaw in device.flaws(state)):
            self._renew(state, tunnel)
        else:
            device.change(self._cluster, tunnel)
        state.state(tunnel)

    def _move(self, state: TunnelState, tunnel: IpTunnel) -> None:
        """Another address or port in the underlay."""
        fresh, old = _underlay(tunnel), state.underlay
        with self._engine.still():
            self._engine.unwatch_receiver(old.unicast)
            state.underlay = fresh
        old.close()
        self._engine.watch_tunnel_socket(state)

    def _renew(self, state: TunnelState, tunnel: IpTunnel) -> None:
        """The device was removed by somebody; routes stay."""
        with self._engine.still():
            if not state.gone:
                self._engine.unwatch_tunnel(state)
            state.device.close()
            state.device = device.make(self._cluster, tunnel)
            state.gone = ""
        self._engine.watch_tunnel(state)

    def _unset(self, name: str) -> None:
        state = self._tunnels.get(name)
        if state is None:
            return
        with self._engine.still():
            if not state.gone:
                self._engine.unwatch_tunnel(state)
            self._engine.unwatch_receiver(state.underlay.unicast)
            del self._tunnels[name]
            state.device.close()
            state.underlay.close()


def _underlay(tunnel: IpTunnel) -> Underlay:
    try:
        return Underlay(tunnel.local, tunnel.udp_port, entropy=False, fragment=True)
    except WeftError as error:
        code = error.__cause__.errno if isinstance(error.__cause__, OSError) else None
        remedy = {
            errno.EADDRINUSE: "stop flanneld, or whatever else has this UDP port here",
            errno.EADDRNOTAVAIL: "give this host the address, or name its device with --iface",
        }.get(code or 0, error.remedy)
        raise WeftError(error.kind, error.what, where=error.where, remedy=remedy) from error
