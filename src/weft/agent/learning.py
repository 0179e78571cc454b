"""Local learning: sightings on this node's ports in, endpoint records out. Sans I/O; time is an argument.

A record says "this MAC, with these IPs, is behind my VTEP", and each node writes its own records only. A sighting of a
MAC that another node's record has is a move: the new record's sequence is one higher, and the node whose record is
beaten takes its own away (RFC 7432 section 15). An IP that moves to another MAC does it the same way, by raising the
sequence of the record that takes it.

- The declaration of a port wins over sightings of its MAC or IPs elsewhere, which are reported; `mobile` reverses that.
  A sighting that says what the declaration says is no news.
- What moves five times in 180 s is frozen where it is, reported, and let go after ten minutes.
- What has not been seen for `age` is asked for, address by address, and forgotten when it does not answer.
- A port has room for so many hosts and so many changes a second, so that a scan fills neither the store nor memory.

The machine keeps its node's part of the feed's world itself, so that its node acts at once and the store follows.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from weft.agent.feed import Feed
from weft.agent.limits import USUAL, Limits
from weft.agent.moves import Moves
from weft.agent.notes import Notes
from weft.agent.scope import Scope, is_host, is_link_local, objection, scopes
from weft.agent.sighting import Probe, Sighting
from weft.compile.endpoints import newest, owner
from weft.compile.world import World
from weft.model.endpoint import LEARNED, Endpoint
from weft.model.network import SegmentKey

Key = tuple[SegmentKey, str]  # a segment and a MAC


@dataclass(slots=True)
class _Host:
    """An endpoint behind a port of ours. `seen`: when its MAC was last seen; `ips`: the same by IP, and tries since."""

    endpoint: Endpoint
    seen: float
    ips: dict[str, tuple[float, int]] = field(default_factory=dict)
    due: float = 0.0
    thaw: float | None = None


class Sightings:
    """One node's machine. `changed`: records to write, None to delete, since they were last taken."""

    def __init__(self, feed: Feed, node: str, limits: Limits = USUAL) -> None:
        self.feed, self.node, self.limits = feed, node, limits
        self.changed: dict[Key, Endpoint | None] = {}
        self.contested: set[SegmentKey] = set()  # where a row was taken over by a sighting that does not count
        self.notes = Notes()
        self.moves = Moves(limits.moves, limits.window)
        self._scopes: dict[SegmentKey, Scope] = {}
        self._hosts: dict[Key, _Host] = {}
        self._on_port: Counter[tuple[SegmentKey, str]] = Counter()
        self._budget: dict[tuple[SegmentKey, str], tuple[float, float]] = {}  # changes left, as of when
        self._ice: dict[Key, tuple[int, float]] = {}  # frozen elsewhere: its sequence, and since when we know
        self._due: list[tuple[float, Key]] = []

    # What it stands on

    @property
    def segments(self) -> frozenset[SegmentKey]:
        """Segments that learn from ports of this node."""
        return frozenset(self._scopes)

    def __len__(self) -> int:
        return len(self._hosts)

    def record(self, key: SegmentKey, mac: str) -> Endpoint | None:
        """What this node says of a MAC."""
        host = self._hosts.get((key, mac))
        return host.endpoint if host else None

    def records(self) -> Iterator[Endpoint]:
        return (host.endpoint for host in self._hosts.values())

    def adopt(self, endpoints: Iterable[Endpoint], now: float) -> None:
        """Takes over what this node wrote before it was restarted; each will be asked whether it is still there."""
        for count, endpoint in enumerate(endpoints):
            then = now - self.limits.age + count / self.limits.changes
            host = _Host(endpoint, now, dict.fromkeys(endpoint.ips, (then, 0)))
            host.thaw = now + self.limits.thaw if endpoint.frozen else None
            self._hosts[endpoint.key, endpoint.mac] = host
            self._on_port[endpoint.key, endpoint.port] += 1
            self._schedule(host)

    def declared(self, now: float) -> None:
        """Intent has changed: what no longer learns here, or is declared elsewhere now, is taken back."""
        self._scopes = {scope.network.key: scope for scope in scopes(self._world, self.node)}
        for (key, mac), host in list(self._hosts.items()):
            scope = self._scopes.get(key)
            if scope is None or host.endpoint.port not in scope.ports or self._elsewhere(scope, mac):
                self._withdraw(host)
                continue
            kept = tuple(
                ip
                for ip in host.endpoint.ips
                if self._plausible(scope, host.endpoint, ip, now) and owner(self._world, scope.network, ip) == mac
            )
            if kept != host.endpoint.ips:
                self._set(host, ips=kept)

    def _elsewhere(self, scope: Scope, mac: str) -> bool:
        """Whether a declaration or a newer sighting says that a MAC is behind another node."""
        port = self._world.declared(scope.network.name).macs.get(mac)
        if port is not None and port.node != self.node and not port.mobile:
            return True
        first = newest(self._world, scope.network, mac)
        return first is not None and first.node != self.node

    @property
    def _world(self) -> World:
        return self.feed.world

    # What comes in

    def see(self, seen: Sighting, now: float) -> None:
        """A host spoke on a local port, or has fallen silent there."""
        scope = self._scopes.get(seen.key)
        if scope is None or seen.port not in scope.ports:
            return
        host = self._hosts.get((seen.key, seen.mac))
        if seen.gone:
            if host and host.endpoint.port == seen.port:
                self._doubt(host, now)
            return
        if not is_host(seen.mac):
            self.notes.say(("mac", seen.key, seen.port), f"{scope.at(seen.port)}: frames from {seen.mac}", now)
            return
        ip = seen.ip if seen.ip and self._plausible(scope, seen, seen.ip, now) else None
        if not self._counts(scope, seen, ip, now):
            return
        if host is None:
            self._arrive(scope, seen, ip, now)
        else:
            self._refresh(scope, host, seen, ip, now)

    def other(self, endpoint: Endpoint, now: float) -> None:
        """Another node's record is new or has changed."""
        scope = self._scopes.get(endpoint.key)
        if scope is None:
            return
        key = endpoint.key, endpoint.mac
        host = self._hosts.get(key)
        if host:
            self.moves.at(key, self.node, host.endpoint.sequence, now)
        if key in self.moves:
            self.moves.at(key, endpoint.node, endpoint.sequence, now)
        if host and self._elsewhere(scope, endpoint.mac):
            self._withdraw(host)
        for ip in endpoint.ips:
            self._yield_ip(scope, ip, endpoint.mac, endpoint.sequence, now)

    def _yield_ip(self, scope: Scope, ip: str, mac: str, sequence: int, now: float) -> None:
        """Those of our hosts that had an IP which now belongs to this MAC lose it."""
        key = scope.network.key
        holders = self._world.sightings.holders(key, ip)
        ours = [self._hosts.get((key, other)) for other, node in holders if node == self.node and other != mac]
        for host in filter(None, ours):
            self.moves.at((key, ip), host.endpoint.mac, host.endpoint.sequence, now)
        if (key, ip) in self.moves:
            self.moves.at((key, ip), mac, sequence, now)
        if any(ours) and owner(self._world, scope.network, ip) == mac:
            for host in filter(None, ours):
                self._set(host, ips=tuple(each for each in host.endpoint.ips if each != ip))

    def _counts(self, scope: Scope, seen: Sighting, ip: str | None, now: float) -> bool:
        """Whether a sighting may say where its MAC is: not against a declaration, not while it is frozen elsewhere;
        and whether it says more than the declaration does."""
        key = seen.key, seen.mac
        port = self._world.declared(scope.network.name).macs.get(seen.mac)
        rival = newest(self._world, scope.network, seen.mac)
        elsewhere = (rival is not None and rival.node != self.node) or (port is not None and port.node != self.node)
        if elsewhere and not seen.fresh:
            return False
        if port and port.node != self.node and not port.mobile:
            self.contested.add(seen.key)
            what = f"{scope.at(seen.port)}: {seen.mac} is seen here, but port {port.name} on {port.node} declares it"
            self.notes.say(("declared", *key), what, now)
            return False
        if port and port.node == self.node and key not in self._hosts:
            news = ip is not None or (port.mobile and rival is not None)
            if not news:
                return False
        if rival and rival.frozen and rival.node != self.node:
            sequence, since = self._ice.setdefault(key, (rival.sequence, now))
            if sequence != rival.sequence:
                self._ice[key] = rival.sequence, now
            elif now - since > 2 * self.limits.thaw:  # its node does not let it go: it may be gone itself
                return True
            self.contested.add(seen.key)
            what = f"{scope.at(seen.port)}: {seen.mac} is seen here and frozen on {rival.node}: it moves too often"
            self.notes.say(("frozen", *key), what, now)
            return False
        self._ice.pop(key, None)
        return True

    def _plausible(self, scope: Scope, at: Sighting | Endpoint, ip: str, now: float) -> bool:
        """Whether a host may have an address that a record is worth; what it may not have is noted."""
        if is_link_local(ip):
            return False
        if why := objection(self._world, scope, at.mac, ip):
            self.notes.say(("ip", at.key, ip), f"{scope.at(at.port)}: {why}", now)
            return False
        return ip not in self._world.declared(scope.network.name).ips

    def _arrive(self, scope: Scope, seen: Sighting, ip: str | None, now: float) -> None:
        key, place = (seen.key, seen.mac), (seen.key, seen.port)
        if self._on_port[place] >= self.limits.hosts:
            what = f"{scope.at(seen.port)}: more than {self.limits.hosts} hosts; further ones are not learned"
            self.notes.say(("many", *place), what, now)
            return
        if not self._spend(place, scope, seen, now):
            return
        others = self._world.sightings.of(seen.key, seen.mac).values()
        rival = newest(self._world, scope.network, seen.mac)
        if rival:
            self.moves.at(key, rival.node, rival.sequence, now)
        sequence = max((each.sequence for each in others), default=-1) + 1
        count = self.moves.at(key, self.node, sequence, now)
        host = _Host(
            Endpoint(key=seen.key, mac=seen.mac, node=self.node, sequence=sequence, source=LEARNED, port=seen.port),
            now,
        )
        self._hosts[key] = host
        self._on_port[place] += 1
        frozen = count >= self.limits.moves
        if frozen:
            host.thaw = now + self.limits.thaw
            what = f"{scope.at(seen.port)}: {seen.mac} is frozen here after {count} moves in {self.limits.window:g} s"
            self.notes.say(("frozen", *key), what, now)
        self._set(host, ips=self._with(scope, host, ip, now), frozen=frozen)
        self._schedule(host)

    def _refresh(self, scope: Scope, host: _Host, seen: Sighting, ip: str | None, now: float) -> None:
        host.seen = now
        before = host.endpoint
        if ip in host.ips:
            host.ips[ip] = now, 0
            ip = None
        if seen.port == before.port and ip is None:
            return
        place = (seen.key, seen.port)
        if not self._spend(place, scope, seen, now):
            return
        if seen.port != before.port:
            self._on_port[before.key, before.port] -= 1
            self._on_port[place] += 1
        self._set(host, ips=self._with(scope, host, ip, now), port=seen.port)
        self._schedule(host)

    def _with(self, scope: Scope, host: _Host, ip: str | None, now: float) -> tuple[str, ...]:
        """The host's IPs and this one, if it may have it; raises its sequence where another MAC had the IP."""
        ips, key = host.endpoint.ips, scope.network.key
        if ip is None or ip in ips:
            return ips
        where = scope.at(host.endpoint.port)
        if len(ips) >= self.limits.ips:
            what = (
                f"{where}: {host.endpoint.mac} has more than {self.limits.ips} addresses; further ones are not learned"
            )
            self.notes.say(("ips", key, host.endpoint.mac), what, now)
            return ips
        had = owner(self._world, scope.network, ip)
        if had is not None and had != host.endpoint.mac:
            if self.moves.too_many((key, ip), now):
                what = f"{where}: {ip} is a duplicate: {host.endpoint.mac} and {had} both use it; {had} keeps it"
                self.notes.say(("ip", key, ip), what, now)
                return ips
            rival = newest(self._world, scope.network, had)
            above = rival.sequence if rival else 0
            self.moves.at((key, ip), had, above, now)
            sequence = max(host.endpoint.sequence, above + 1)
            host.endpoint = msgspec.structs.replace(host.endpoint, sequence=sequence)
            self.moves.at((key, ip), host.endpoint.mac, sequence, now)
        host.ips[ip] = now, 0
        return (*ips, ip)

    def _spend(self, place: tuple[SegmentKey, str], scope: Scope, seen: Sighting, now: float) -> bool:
        left, then = self._budget.get(place, (self.limits.burst, now))
        left = min(self.limits.burst, left + (now - then) * self.limits.changes)
        if left < 1:
            what = f"{scope.at(seen.port)}: more than {self.limits.changes:g} changes a second; some are not learned"
            self.notes.say(("fast", *place), what, now)
            return False
        self._budget[place] = left - 1, now
        return True

    # What goes out

    def _set(self, host: _Host, **changes: object) -> None:
        """The record as it shall be: in our world at once, in the store when it is written."""
        host.endpoint = endpoint = msgspec.structs.replace(host.endpoint, **changes)
        host.ips = {ip: host.ips[ip] for ip in endpoint.ips}
        if self._world.sightings.of(endpoint.key, endpoint.mac).get(self.node) == endpoint:
            return
        self.feed.see(endpoint)
        self.changed[endpoint.key, endpoint.mac] = endpoint
        scope = self._scopes.get(endpoint.key)
        if scope:
            for ip in endpoint.ips:
                self._yield_ip(scope, ip, endpoint.mac, endpoint.sequence, host.seen)

    def _withdraw(self, host: _Host) -> None:
        endpoint = host.endpoint
        key = endpoint.key, endpoint.mac
        del self._hosts[key]
        place = endpoint.key, endpoint.port
        self._on_port[place] -= 1
        if not self._on_port[place]:
            del self._on_port[place]
            self._budget.pop(place, None)
        self.feed.forget(endpoint.key, endpoint.mac, self.node)
        self.changed[key] = None

    def taken(self) -> dict[Key, Endpoint | None]:
        """The records to write (None: delete) since the last call."""
        changed, self.changed = self.changed, {}
        return changed

    # What time brings

    def _schedule(self, host: _Host) -> None:
        """One entry a host in the queue counts: the one with its `due`."""
        times = [self._next(seen, tries) for seen, tries in host.ips.values()]
        if not times:
            times.append(host.seen + self.limits.age)
        if host.thaw is not None:
            times.append(host.thaw)
        host.due = min(times)
        heapq.heappush(self._due, (host.due, (host.endpoint.key, host.endpoint.mac)))

    def _next(self, seen: float, tries: int) -> float:
        return seen + self.limits.age + tries * self.limits.gap

    def _doubt(self, host: _Host, now: float) -> None:
        """It may be gone: each of its addresses is asked now; a host without any is forgotten."""
        then = now - self.limits.age
        host.seen = min(host.seen, then)
        host.ips = {ip: (min(seen, then), 0) if not tries else (seen, tries) for ip, (seen, tries) in host.ips.items()}
        self._schedule(host)

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        return self._due[0][0] if self._due else None

    def tick(self, now: float) -> list[Probe]:
        """What is due: questions to ask; what did not answer is forgotten, what was frozen long enough is let go."""
        probes: list[Probe] = []
        while self._due and self._due[0][0] <= now:
            due, key = heapq.heappop(self._due)
            host = self._hosts.get(key)
            if host is not None and host.due == due:
                self._due_host(host, now, probes)
        self.moves.prune(now)
        self.notes.prune(now)
        return probes

    def _due_host(self, host: _Host, now: float, probes: list[Probe]) -> None:
        endpoint, silent = host.endpoint, []
        for ip, (seen, tries) in host.ips.items():
            if self._next(seen, tries) > now:
                continue
            if tries < self.limits.tries:
                host.ips[ip] = seen, tries + 1
                probes.append(Probe(endpoint.key, endpoint.port, endpoint.mac, ip))
            else:
                silent.append(ip)
        left = tuple(ip for ip in endpoint.ips if ip not in silent)
        if not left and host.seen + self.limits.age <= now:
            self._withdraw(host)
            return
        thawed = host.thaw is not None and host.thaw <= now
        if thawed:
            host.thaw = None
            self.moves.forget((endpoint.key, endpoint.mac))
            self.notes.drop(("frozen", endpoint.key, endpoint.mac))
        if silent or thawed:
            self._set(host, ips=left, frozen=host.thaw is not None)
        self._schedule(host)
