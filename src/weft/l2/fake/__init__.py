"""A datapath in memory, with fault switches: what the agent's tests run against."""

from weft.l2.fake.datapath import FakeDatapath
from weft.l2.fake.faults import Faults

__all__ = ["FakeDatapath", "Faults"]
