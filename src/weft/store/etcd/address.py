"""The URL of an etcd store.

    etcd://[user[:password]@]host[:port][,host[:port]]…[?ca=FILE][&cert=FILE&key=FILE][&prefix=TEXT]
    etcds://…                            the same over TLS, trusting the system's authorities

`ca` (the authority to trust), or `cert` and `key` (a client certificate), turn TLS on too. The port is 2379 unless
given; IPv6 addresses stand in brackets. User and password are percent-encoded. A password that is not in the URL is
taken from WEFT_ETCD_PASSWORD, where no process list shows it. `prefix` stands before every key, for an etcd that
others use too.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote

from weft.model.errors import Kind, WeftError

PASSWORD = "WEFT_ETCD_PASSWORD"
FORM = "use etcd://[user@]host:2379,host:2379…[?ca=FILE&cert=FILE&key=FILE&prefix=TEXT], or etcds://… for TLS"
_OPTIONS = frozenset({"ca", "cert", "key", "prefix"})
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?")
_PORT = 2379


@dataclass(frozen=True, slots=True)
class Spelling:
    """How whoever gives an address says these; remedies name them so."""

    tls: str = "etcds://…"
    ca: str = "ca=FILE"
    cert: str = "cert=FILE&key=FILE"
    user: str = "put one into the URL: etcd://user@host…"


@dataclass(frozen=True, slots=True)
class Address:
    """Where etcd is and how to talk to it; `endpoints` are host:port. The password is in no text made of this."""

    endpoints: tuple[str, ...]
    tls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""
    cert: str = ""
    key: str = ""
    prefix: str = ""
    spelling: Spelling = Spelling()

    @property
    def url(self) -> str:
        """The canonical URL, without the password."""
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        options = {name: getattr(self, name) for name in ("ca", "cert", "key", "prefix")}
        query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in options.items() if value)
        scheme = "etcds" if self.tls else "etcd"
        return f"{scheme}://{user}{','.join(self.endpoints)}{'?' if query else ''}{query}"

    def base(self, endpoint: str) -> str:
        return f"{'https' if self.tls else 'http'}://{endpoint}"

    def context(self) -> ssl.SSLContext | None:
        """What TLS trusts and shows; None without TLS. Raises `USAGE` for files that cannot be used."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
            if self.cert:
                # An empty password: a locked key is refused, not asked for on the terminal.
                context.load_cert_chain(self.cert, self.key, password="")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            files = ", ".join(file for file in (self.ca, self.cert, self.key) if file)
            raise WeftError(
                Kind.USAGE,
                f"cannot use the certificates ({files}): {error}",
                where=self.url,
                remedy="name readable PEM files; a key must have no passphrase",
            ) from None
        return context


def parse(url: str, environment: Mapping[str, str] = os.environ) -> Address:
    """Raises `USAGE`, without repeating what may be a password."""
    shown = hide(url)
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    login, at, hosts = place.rpartition("@")
    user, colon, password = login.partition(":")
    if scheme not in ("etcd", "etcds") or (at and not user):
        raise _wrong("not the URL of an etcd store", shown)
    options = _options(query, shown)
    cert, key = options.get("cert", ""), options.get("key", "")
    if bool(cert) != bool(key):
        raise _wrong("a client certificate needs both cert= and key=", shown)
    if at and not colon:
        password = quote(environment.get(PASSWORD, ""), safe="")
    if user and not password:
        raise _wrong(f"user {unquote(user)} has no password", shown, f"set {PASSWORD}")
    return Address(
        endpoints=tuple(_endpoint(host, shown) for host in hosts.rstrip("/").split(",")),
        tls=scheme == "etcds" or bool(options.get("ca") or cert),
        user=unquote(user),
        password=unquote(password),
        ca=options.get("ca", ""),
        cert=cert,
        key=key,
        prefix=options.get("prefix", ""),
    )


def hide(url: str) -> str:
    """The URL as it may be shown, whatever its form."""
    return re.sub(r"(://[^:@/?]*):.*@", r"\1@", url, flags=re.DOTALL)


def _options(query: str, shown: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    for name, value in pairs:
        if name not in _OPTIONS or not value:
            raise _wrong(f"option {name}={value} is not known" if value else f"option {name} has no value", shown)
    if len(dict(pairs)) != len(pairs):
        raise _wrong("an option is given twice", shown)
    return dict(pairs)


def _endpoint(host: str, shown: str) -> str:
    match = _HOST.fullmatch(host)
    port = int(match["port"] or _PORT) if match else 0
    if not match or not 0 < port < 65536:
        raise _wrong(f"{host!r} is no host:port", shown)
    return f"{match['host']}:{port}"


def _wrong(what: str, shown: str, remedy: str = FORM) -> WeftError:
    return WeftError(Kind.USAGE, what, where=shown, remedy=remedy)
