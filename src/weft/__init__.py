"""Weft: many isolated virtual networks across Linux hosts, over VXLAN.

intent ──compile──▶ node plan ──diff against what is──▶ operations ──apply──▶ what is

docs/architecture.md tells how the packages stand to each other; `pyproject.toml` holds the law that keeps it so.
"""

__version__ = "0.1.0"
