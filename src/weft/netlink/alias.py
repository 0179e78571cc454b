"""The alias law: how a device says whose it is and what it is for, weft:<cluster>/<kind>/<name>, then details.

Devices of segments and ports have their names by weft.l2.names, those of routers by weft.plan.router.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote, unquote

ALIAS_MAX = 255  # IFALIASZ - 1
_ALIAS = re.compile(r"weft:([^/ ]+)/([a-z]+)/([^ ]+)((?: [a-z]+=[^ ]*)*)")


class DeviceKind(StrEnum):
    """The kind in an alias."""

    NETWORK = "network"
    TUNNEL = "tunnel"
    ROUTED = "routed"  # a vxlan device without a bridge
    PORT = "port"
    ROUTER = "router"  # a router's loopback, which marks its namespace, and its L3 VNI's device
    IRB = "irb"
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Alias:
    cluster: str
    kind: DeviceKind
    name: str
    details: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The text for the device, with details left out from the end where there is no room."""
        text = f"weft:{self.cluster}/{self.kind}/{quote(self.name, safe='')}"
        for key, value in self.details.items():
            detail = f" {key}={quote(value, safe='/:,.')}"
            if len(text) + len(detail) > ALIAS_MAX:
                break
            text += detail
        return text


def parse_alias(text: str, cluster: str) -> Alias | None:
    """The alias, if it is one of this cluster's."""
    if not text.startswith("weft:") or not (found := _ALIAS.fullmatch(text)) or found[1] != cluster:
        return None
    try:
        kind = DeviceKind(found[2])
    except ValueError:
        return None
    details = (detail.partition("=") for detail in found[4].split())
    return Alias(cluster, kind, unquote(found[3]), {key: unquote(value) for key, _, value in details})


def random_mac() -> str:
    """A locally administered MAC for a device that nobody speaks to; set, so that no other program chooses one."""
    return (bytes([0x02]) + secrets.token_bytes(5)).hex(":")
