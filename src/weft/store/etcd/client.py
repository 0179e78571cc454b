"""Calls to etcd: the next endpoint where one fails, time limits, tokens, and noticing that history went back.

A call goes to the endpoint that answered last. If that one fails, the others are asked in turn, and all of them again
after a jittered pause, until `patience` has passed. "Fails" is: no connection, no byte for `silence` seconds, an
answer that is not etcd's, or an error that another member need not give (no leader, too slow). Every call demands
that the member has a leader (gRPC metadata `hasleader`), so that a member cut off from the others says so at once.

A call that was sent but not answered may have been carried out. Those that can be repeated without harm are;
a compare-and-set is not: its error says that the outcome is unknown.

An etcd restored from a snapshot starts its revisions from the snapshot's. Reads and transactions are linearizable:
their revision and raft term are at least those of any answer that was there when they were sent. Less than that, or
another cluster's id, means that history was replaced; `epoch` counts these.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections.abc import Mapping
from typing import TypeVar

import aiohttp
import msgspec

from weft.model.errors import Kind, WeftError
from weft.store.check import closed
from weft.store.etcd.address import Address
from weft.store.etcd.messages import Answer, Fault, Header, TokenAnswer, decode

A = TypeVar("A", bound=Answer | msgspec.Struct)

PATIENCE = 5.0
"""Seconds for which a call tries its endpoints."""

SILENCE = 2.0
"""Seconds without a byte after which an endpoint counts as gone."""

_PACE = 1_000_000  # octets of a request that a busy endpoint may take a second for, beside that

_PAUSE = (0.05, 1.0)
"""Seconds between two rounds over all endpoints: at first, and at most."""

# google.golang.org/grpc/codes
_INVALID_ARGUMENT, _PERMISSION_DENIED, _EXHAUSTED, _PRECONDITION, _UNAUTHENTICATED = 3, 7, 8, 9, 16
_ELSEWHERE = frozenset({1, 2, 4, 12, 13, 14})
"""Cancelled, unknown, too late, not implemented, internal, unavailable: another member may do better."""

_HEADERS = {"Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"}


class EndpointError(Exception):
    """One endpoint failed. `sent`: it may have carried out the call. `hopeless`: waiting will not help. `lacks`: what
    the address would have to give: "tls", "ca", "cert"; "more": maybe the first or the last."""

    def __init__(self, reason: str, *, sent: bool = True, hopeless: bool = False, lacks: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.hopeless = hopeless
        self.lacks = lacks


class Refusal(Exception):
    """etcd understood and said no; every member would."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.message = fault.message.removeprefix("etcdserver: ").removeprefix("mvcc: ")
        self.code = fault.code or fault.grpc_code


class Client:
    """One user's calls to one cluster, within one event loop."""

    def __init__(self, address: Address, *, patience: float = PATIENCE, silence: float = SILENCE) -> None:
        self.address = address
        self.url = address.url
        self.silence = silence
        self.epoch = 0
        self.seen = Header()
        self._patience = patience
        self._context = address.context()
        self._endpoints = list(address.endpoints)
        random.shuffle(self._endpoints)  # a fleet's agents spread over the members
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._token = ""
        self._login = asyncio.Lock()
        self._closed = False

    # -- endpoints ------------------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """The one that is asked first."""
        return self._endpoints[0]

    def avoid(self, endpoint: str) -> None:
        """Asks this endpoint last from now on."""
        if self._endpoints[0] == endpoint:
            self._endpoints.append(self._endpoints.pop(0))

    def session(self, purpose: str) -> aiohttp.ClientSession:
        """Connections for one purpose only: a watch never waits for a call's."""
        if self._closed:
            raise closed(self.url)
        if purpose not in self._sessions:
            self._sessions[purpose] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._context or True),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.silence, sock_read=self.silence),
            )
        return self._sessions[purpose]

    async def hang_up(self) -> None:
        """Drops the connections for calls, none of which may be under way: made from an address that the host has no
        longer, they are dead, and each would be waited for."""
        if session := self._sessions.pop("calls", None):
            await session.close()

    async def close(self) -> None:
        self._closed = True
        for session in self._sessions.values():
            await session.close()

    # -- calls ----------------------------------------------------------------------------------------------------

    async def call(self, path: str, request: object, answer: type[A], *, repeat: bool = True) -> A:
        """The answer to a POST of `request` to `path`.

        Raises `Refusal` for what etcd refuses, `UNREACHABLE` where no endpoint answers, `REFUSED` for a user who may
        not. `repeat`: whether the call does no harm when it is carried out twice.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience
        pause, most = _PAUSE
        failed: dict[str, EndpointError] = {}
        while True:
            for endpoint in tuple(self._endpoints):
                try:
                    return await self._ask(endpoint, path, request, answer)
                except EndpointError as error:
                    self.avoid(endpoint)
                    failed[endpoint] = error
                    if error.sent and not repeat:
                        raise self._unknown(endpoint, error) from None
                if clock() >= deadline:
                    break
            if all(error.hopeless for error in failed.values()) or clock() + pause >= deadline:
                raise self.unreachable(failed)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, most)

    async def headers(self, endpoint: str) -> dict[str, str]:
        """What every request carries; the token is got if there is none."""
        if not self.address.user:
            return _HEADERS
        async with self._login:
            if not self._token:
                await self._authenticate(endpoint)
        return _HEADERS | ({"Authorization": self._token} if self._token != _NONE_NEEDED else {})

    async def _ask(self, endpoint: str, path: str, request: object, answer: type[A]) -> A:
        for attempt in (1, 2, 3):
            headers = await self.headers(endpoint)
            epoch, before = self.epoch, self.seen
            try:
                result = await self._post(endpoint, path, request, answer, headers)
            except Refusal as refusal:
                if not self._is_stale(refusal) or attempt == 3:
                    raise self._meaning(refusal) from None
                if headers.get("Authorization", _NONE_NEEDED) == self._token:
                    self._token = ""  # nobody has renewed it meanwhile
                continue
            if path.startswith("kv/") and isinstance(result, Answer):
                self._note(epoch, before, result.header)
            return result
        raise AssertionError("unreachable")

    async def _post(self, endpoint: str, path: str, request: object, answer: type[A], headers: dict[str, str]) -> A:
        url = f"{self.address.base(endpoint)}/v3/{path}"
        data = msgspec.json.encode(request)
        silence = self.silence + len(data) / _PACE
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.silence, sock_read=silence)
        post = self.session("calls").post
        try:
            async with post(url, data=data, headers=headers, allow_redirects=False, timeout=timeout) as response:
                status, body = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise failure(error, silence) from None
        if status != 200:
            raise fault(status, body)
        try:
            return decode(body, answer)
        except msgspec.DecodeError as error:
            raise EndpointError(f"what it answers is not etcd's ({error})") from None

    async def _authenticate(self, endpoint: str) -> None:
        login = {"name": self.address.user, "password": self.address.password}
        try:
            self._token = (await self._post(endpoint, "auth/authenticate", login, TokenAnswer, _HEADERS)).token
        except Refusal as refusal:
            if refusal.message != "authentication is not enabled":
                raise WeftError(
                    Kind.REFUSED,
                    f"etcd does not accept user {self.address.user} ({refusal.message})",
                    where=self.url,
                    remedy="check the user's name and password",
                ) from None
            self._token = _NONE_NEEDED

    def _is_stale(self, refusal: Refusal) -> bool:
        if not self.address.user:
            return False
        return refusal.code == _UNAUTHENTICATED or refusal.message in (
            "revision of auth store is old",
            "user name is empty",
        )

    def _meaning(self, refusal: Refusal) -> Exception:
        """Refusals that mean the same for every call."""
        if refusal.code in (_PERMISSION_DENIED, _UNAUTHENTICATED):
            who = f"user {self.address.user}" if self.address.user else "a request without a user"
            return WeftError(
                Kind.REFUSED,
                f"etcd refuses {who} ({refusal.message})",
                where=self.url,
                remedy="give the user a role that may read and write the keys (docs/store.md)",
            )
        if refusal.message == "user name is empty":
            return WeftError(Kind.REFUSED, "etcd wants a user", where=self.url, remedy=self.address.spelling.user)
        if refusal.message == "database space exceeded":
            return WeftError(
                Kind.FAILED,
                "etcd's space is used up; it takes no writes",
                where=self.url,
                remedy="compact, `etcdctl defrag`, `etcdctl alarm disarm`, or raise --quota-backend-bytes",
            )
        return refusal

    def _note(self, epoch: int, before: Header, now: Header) -> None:
        if epoch != self.epoch:
            return  # another call noticed while this one was under way
        replaced = now.cluster_id != before.cluster_id
        if before.cluster_id and (replaced or now.raft_term < before.raft_term or now.revision < before.revision):
            self.epoch += 1
            self.seen = now
        elif now.revision >= self.seen.revision:
            self.seen = now

    # -- errors ---------------------------------------------------------------------------------------------------

    def unreachable(self, failed: Mapping[str, EndpointError]) -> WeftError:
        said = "; ".join(f"{endpoint}: {error.reason}" for endpoint, error in sorted(failed.items()))
        spelling = self.address.spelling
        remedies = {
            "tls": f"give the address for TLS: {spelling.tls}",
            "ca": f"name the authority that signed it: {spelling.ca}",
            "cert": f"show a certificate that it trusts: {spelling.cert}; or reach it without TLS",
            "": "check the addresses, that etcd runs there, and that most of its members are alive",
        }
        lacks = max((error.lacks for error in failed.values()), default="")
        remedy = remedies[lacks if lacks != "more" else ""]
        if lacks == "more" and not self.address.cert:
            remedy += f"; where it wants {'a certificate' if self.address.tls else 'TLS'}: "
            remedy += spelling.cert if self.address.tls else spelling.tls
        return WeftError(Kind.UNREACHABLE, f"etcd does not answer ({said})", where=self.url, remedy=remedy)

    def _unknown(self, endpoint: str, error: EndpointError) -> WeftError:
        return WeftError(
            Kind.UNREACHABLE,
            f"etcd did not say whether it wrote the change ({endpoint}: {error.reason})",
            where=self.url,
            remedy="look at what is stored, or do it again",
        )


_NONE_NEEDED = "-"
"""In place of a token where etcd has no users."""


def failure(error: Exception, silence: float) -> EndpointError:
    """What went wrong with a connection."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
        return EndpointError(f"its certificate is not trusted ({reason})", sent=False, hopeless=True, lacks="ca")
    if isinstance(error, aiohttp.ClientConnectorSSLError | ssl.SSLError):
        said = "no TLS is spoken there, or it wants another certificate"
        return EndpointError(said, sent=False, hopeless=True, lacks="cert")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return EndpointError(f"no connection within {round(silence, 1):g} s", sent=False)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return EndpointError("its name cannot be resolved", sent=False)
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, ConnectionResetError):  # what etcd without TLS does to a handshake
            return EndpointError("it closed the connection: it stopped, or no TLS is spoken there", sent=False)
        number = error.os_error.errno
        return EndpointError(os.strerror(number) if number else "no connection", sent=False)
    if isinstance(error, TimeoutError):
        return EndpointError(f"no answer within {round(silence, 1):g} s")
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return EndpointError("closed the connection without an answer", lacks="more")
    if isinstance(error, aiohttp.ClientOSError):
        if "CERTIFICATE" in str(error):  # TLS 1.3 says so after the handshake, if the alert is not overtaken
            return EndpointError("it wants a certificate, or another", sent=False, hopeless=True, lacks="cert")
        return EndpointError("closed the connection without an answer", lacks="more")
    return EndpointError(f"what it answers is broken ({type(error).__name__})")


def fault(status: int, body: bytes) -> Exception:
    """What an answer other than 200 means."""
    if b"HTTP request to an HTTPS server" in body:
        return EndpointError("it wants TLS", sent=False, hopeless=True, lacks="tls")
    try:
        said = decode(body, Fault)
    except msgspec.DecodeError:
        said = Fault()
    if said.message:
        return judged(said)
    return EndpointError(f"it answers HTTP {status}, not like the v3 API of etcd 3.4 or later")


def judged(said: Fault) -> Exception:
    """Whether another member may do better."""
    code = said.code or said.grpc_code
    if not said.message:
        return EndpointError("it answers with an error without words, not like etcd")
    if code in _ELSEWHERE or "too many requests" in said.message:
        return EndpointError(said.message, sent="no leader" not in said.message)
    return Refusal(said)
