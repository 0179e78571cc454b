"""Where a router's own VNI (its L3 VNI) is made true beside a datapath that takes all VXLAN of its host.

The kernel's vxlan device in the router's namespace is the usual seat (weft.l3.router). It hears nothing where somebody
else has the UDP port: there the L3 VNI is a segment of that datapath, and its device a port of it.
"""

from __future__ import annotations

from typing import Protocol

from weft.plan.router import Router


class L3Seat(Protocol):
    """Raises WeftError."""

    def put(self, router: Router) -> None:
        """The device of the router's L3 VNI stands in the router's namespace, whatever was there."""

    def drop(self, router: str) -> None:
        """What this router, by name, has of an L3 VNI goes; nothing there is no error."""
