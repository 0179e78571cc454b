"""Why there is no network configuration where it was looked for, and what to do about it; one line."""

from __future__ import annotations

import contextlib

import aiohttp

from weft.model.errors import Kind, WeftError
from weft.peering.flannel.config import parse
from weft.store.etcd.address import Address
from weft.store.etcd.client import Client
from weft.store.etcd.messages import RangeAnswer, text

_EXAMPLE = '{"Network": "10.2.0.0/16", "Backend": {"Type": "vxlan"}}'
_MANY = 1000
"""Keys that are looked at to find a configuration elsewhere."""


async def no_configuration(address: Address) -> WeftError:
    """Never raises: where etcd does not answer any more, the plain reason is given."""
    key = f"{address.prefix}config"
    what = f"etcd has no key {key}"
    remedy = f"write one: ETCDCTL_API=3 etcdctl put {key} '{_EXAMPLE}'"
    client = Client(address, patience=2.0)
    try:
        if await _in_v2(client, key):
            what += ", but the old v2 API has it"
            remedy = f"copy it to the v3 API: ETCDCTL_API=3 etcdctl put {key} '…'"
        elif elsewhere := await _elsewhere(client):
            what += f", but {elsewhere}/config is one"
            remedy = f"give -etcd-prefix {elsewhere}"
    except WeftError:
        pass
    finally:
        await client.close()
    return WeftError(Kind.NOT_FOUND, what, where=address.url, remedy=remedy)


async def _in_v2(client: Client, key: str) -> bool:
    """Whether etcd's v2 API, where it is served still, has this key."""
    url = f"{client.address.base(client.endpoint)}/v2/keys{key}"
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
        async with client.session("calls").get(url, allow_redirects=False) as response:
            return response.status == 200 and b'"node"' in await response.content.read(65536)
    return False


async def _elsewhere(client: Client) -> str:
    """Another prefix under which a network's configuration stands; empty where there is none."""
    whole = {"key": text(b"\0"), "range_end": text(b"\0"), "limit": _MANY, "keys_only": True}
    with contextlib.suppress(Exception):  # a user may not read everything: then it is not known
        for kv in (await client.call("kv/range", whole, RangeAnswer)).kvs:
            if not kv.key.endswith(b"/config"):
                continue
            found = (await client.call("kv/range", {"key": text(kv.key)}, RangeAnswer)).kvs
            with contextlib.suppress(WeftError, UnicodeDecodeError, IndexError):
                parse(found[0].value)
                return kv.key.decode().removesuffix("/config")
    return ""
