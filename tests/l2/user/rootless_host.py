"""One machine of an ordinary user, inside the user's own namespaces: python -m tests.l2.user.rootless_host NUMBER

Makes the container's namespace, applies the plan, says "ready", and does until the end of its input what each line
says: `ping ADDRESS`.
"""

from __future__ import annotations

import subprocess
import sys

from tests.l2.l2_world import Overlay, Underlay, bring
from weft.l2.user.datapath import UserDatapath
from weft.netlink import namespace


def main() -> int:
    number = int(sys.argv[1])
    inside = "ab"[number]
    namespace.create(inside)
    world = Underlay("", ("", ""))
    path = UserDatapath("rootless")
    try:
        facts = path.facts(f"h{number + 1}", world.vteps[number])
        bring(path, Overlay().plan(world, number))  # type: ignore[arg-type]
        print(f"ready on {facts.interface}, MTU {facts.underlay_mtu}", flush=True)
        for line in sys.stdin:
            words = ["ip", "netns", "exec", inside, "ping", "-c", "2", "-W", "10", line.split()[1]]
            done = subprocess.run(words, capture_output=True, check=False)
            print("reached" if done.returncode == 0 else done.stdout, flush=True)
    finally:
        path.stop()
        path.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
