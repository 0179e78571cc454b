"""Another process that uses a store; run by the sqlite tests.

put URL KEY          writes KEY
count URL KEY TIMES  raises the number under KEY that often, by compare-and-set
pairs URL            writes a and b to the same number, for ever; prints each number once it is stored

Each opens the store, prints "ready" and waits for a line before it starts.
"""

from __future__ import annotations

import asyncio
import sys

from weft.store import Compare, Put, open_store


async def main(what: str, url: str, *rest: str) -> None:
    store = open_store(url)
    print("ready", flush=True)
    sys.stdin.readline()
    if what == "put":
        await store.transact([], [Put(rest[0], b"from another process")])
    elif what == "count":
        for _ in range(int(rest[1])):
            while True:
                items = (await store.snapshot([rest[0]])).items
                revision, number = (items[0].revision, int(items[0].value)) if items else (0, 0)
                outcome = await store.transact([Compare(rest[0], revision)], [Put(rest[0], b"%d" % (number + 1))])
                if outcome.done:
                    break
    elif what == "pairs":
        items = (await store.snapshot(["a"])).items
        number = int(items[0].value) if items else 0
        while True:
            number += 1
            await store.transact([], [Put("a", b"%d" % number), Put("b", b"%d" % number)])
            print(number, flush=True)
    await store.close()


asyncio.run(main(*sys.argv[1:]))
