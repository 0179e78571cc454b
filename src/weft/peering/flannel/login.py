"""Where flannel's etcd is and how to log in, from flannel's own options. Pure."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from weft.model.errors import Kind, WeftError
from weft.store.etcd.address import Address, Spelling

_FLAGS = Spelling(
    "-etcd-endpoints https://HOST:2379",
    "-etcd-cafile FILE",
    "-etcd-certfile FILE -etcd-keyfile FILE",
    "give -etcd-username, and the password in FLANNELD_ETCD_PASSWORD",
)


@dataclass(frozen=True, slots=True)
class Login:
    """flannel's options about etcd, as given; empty for what was not."""

    endpoints: str = "http://127.0.0.1:4001,http://127.0.0.1:2379"
    prefix: str = "/coreos.com/network"
    ca: str = ""
    cert: str = ""
    key: str = ""
    user: str = ""
    password: str = field(default="", repr=False)


def address(login: Login) -> Address:
    """Raises USAGE for what cannot be an etcd."""
    schemes, hosts = set(), []
    for endpoint in login.endpoints.split(","):
        parts = urlsplit(endpoint.strip() if "//" in endpoint else f"http://{endpoint.strip()}")
        try:
            port = parts.port or 2379
        except ValueError:
            port = 0
        if parts.scheme not in ("http", "https") or not parts.hostname or not port or parts.path.strip("/"):
            raise _usage(f"-etcd-endpoints: {endpoint!r} is no endpoint", "use http://HOST:2379 or https://HOST:2379")
        schemes.add(parts.scheme)
        hosts.append(f"[{parts.hostname}]:{port}" if ":" in parts.hostname else f"{parts.hostname}:{port}")
    if len(schemes) > 1:
        raise _usage("-etcd-endpoints: http and https cannot be mixed", "use one for all")
    if bool(login.cert) != bool(login.key):
        raise _usage("a client certificate needs both -etcd-certfile and -etcd-keyfile", "give both")
    if login.user and not login.password:
        raise _usage("-etcd-username needs -etcd-password", "set FLANNELD_ETCD_PASSWORD")
    tls = schemes == {"https"} or bool(login.ca or login.cert)
    prefix = re.sub("/+", "/", posixpath.normpath(login.prefix)) if login.prefix else ""
    return Address(
        tuple(hosts), tls, login.user, login.password, login.ca, login.cert, login.key, f"{prefix.rstrip('/')}/", _FLAGS
    )


def _usage(what: str, remedy: str) -> WeftError:
    return WeftError(Kind.USAGE, what, remedy=remedy)
