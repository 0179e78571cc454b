"""`python -m bench [NAME [ARGUMENT…]]`: all benchmarks, or one; prints Markdown for docs/benchmarks.md."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from bench.measure import machine

_PARTS = ("__init__", "__main__", "by_hand", "crossing", "measure", "routed", "table_host", "traffic")  # of others
NAMES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _PARTS)


def main(arguments: list[str]) -> int:
    arguments = [arguments[0].replace("-", "_"), *arguments[1:]] if arguments else []
    if arguments and arguments[0] not in NAMES:
        print(f"there is no benchmark '{arguments[0]}'; one of {', '.join(NAMES)}", file=sys.stderr)
        return 2
    print(machine(), flush=True)
    for name in arguments[:1] or NAMES:
        print(f"\n## {name}: `python -m bench {' '.join([name, *arguments[1:]])}`\n", flush=True)
        for line in importlib.import_module(f"bench.{name}").run(*arguments[1:]):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
