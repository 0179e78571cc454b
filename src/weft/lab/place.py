"""Where labs keep their directories. Apart from `state`, so that entering a rootless lab imports next to nothing."""

from __future__ import annotations

import os
from pathlib import Path

HOLDER = "holder.pid"


def base() -> Path:
    """The directory of all labs of this user; need not exist."""
    if override := os.environ.get("WEFT_LABS"):
        return Path(override)
    if os.geteuid() == 0:
        return Path("/run/weft/labs")
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "weft/labs"
