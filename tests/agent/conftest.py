"""The underlay of the kernel tests serves the agent's too."""

from tests.l2.conftest import underlay

__all__ = ["underlay"]
