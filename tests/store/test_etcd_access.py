"""TLS, users and tokens, against Debian's etcd: what is let in, and what is said of what is not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.store import etcd_certificates
from tests.store.etcd_server import Member, started
from tests.store.store_places import PATIENCE, take
from tests.store.test_conformance import put
from weft.model.errors import Kind, WeftError
from weft.store import Store, open_store
from weft.store.etcd import EtcdStore
from weft.store.etcd.address import PASSWORD, parse

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return etcd_certificates.certificates(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@contextmanager
def secure(tmp_path: Path, certificates: Path, *options: str) -> Iterator[Member]:
    member = Member(
        tmp_path,
        client_scheme="https",
        options=("--cert-file", f"{certificates}/server.pem", "--key-file", f"{certificates}/server.key", *options),
    )
    member.start()
    try:
        member.wait_ready()
        yield member
    finally:
        member.stop()


def short(url: str) -> Store:
    """Gives up once an answer has come."""
    return EtcdStore(parse(url), patience=1.0, silence=PATIENCE)


async def works(store: Store) -> None:
    revision = await put(store, "k/1")
    assert [item.key for item in (await store.snapshot(["k/"])).items] == ["k/1"]
    assert (await take(store.watch(["k/", "o/"], revision), 1))[0].changes[0].key == "k/1"
    await store.close()


async def refusal(store: Store) -> WeftError:
    with pytest.raises(WeftError) as caught:
        await store.snapshot()
    await store.close()
    return caught.value


def test_tls(tmp_path: Path, certificates: Path) -> None:
    async def test(member: Member) -> None:
        await works(open_store(f"etcd://{member.endpoint}?ca={certificates}/ca.pem"))
        untrusted = await refusal(short(f"etcd://{member.endpoint}?ca={certificates}/other.pem"))
        assert "not trusted" in str(untrusted)
        assert "not trusted" in str(await refusal(short(f"etcds://{member.endpoint}")))
        plain = await refusal(short(f"etcd://{member.endpoint}"))
        assert "etcds://" in str(plain)
        assert {untrusted.kind, plain.kind} == {Kind.UNREACHABLE}

    with secure(tmp_path, certificates) as member:
        asyncio.run(test(member))


def test_a_client_certificate_and_a_user(tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "s3cret")

    async def test(member: Member, shown: str) -> None:
        await works(open_store(f"etcd://{member.endpoint}?{shown}"))
        assert (await refusal(short(f"etcd://{member.endpoint}?ca={certificates}/ca.pem"))).kind is Kind.UNREACHABLE
        tls = ("--cacert", f"{certificates}/ca.pem", "--cert", f"{certificates}/client.pem", "--key",
               f"{certificates}/client.key")  # fmt: skip
        member.etcdctl(*tls, "user", "add", "root:s3cret")
        member.etcdctl(*tls, "auth", "enable")
        await works(open_store(f"etcd://root@{member.endpoint}?{shown}"))

    with secure(tmp_path, certificates, "--client-cert-auth", "--trusted-ca-file", f"{certificates}/ca.pem") as member:
        asyncio.run(
            test(
                member,
                f"ca={certificates}/ca.pem&cert={certificates}/client.pem&key={certificates}/client.key",
            )
        )


def test_tls_where_there_is_none(tmp_path: Path) -> None:
    member = started(tmp_path)
    try:
        error = asyncio.run(refusal(short(f"etcds://{member.endpoint}")))
        assert "no TLS is spoken there" in str(error)
        asyncio.run(works(open_store(f"etcd://somebody:pw@{member.endpoint}")))  # etcd without users takes anybody
    finally:
        member.stop()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Member]:
    """With users, and tokens that last a second."""
    member = started(tmp_path, "--auth-token-ttl", "1")
    for command in (
        "user add root:rootpw", "user add weft:s3c/ret", "role add weft", "user grant-role weft weft",
        "role grant-permission weft --prefix=true readwrite /weft/", "auth enable",
    ):  # fmt: skip
        member.etcdctl(*command.split())
    yield member
    member.stop()


def test_a_user_with_short_tokens(guarded: Member) -> None:
    async def test() -> None:
        store = open_store(f"etcd://weft:s3c%2Fret@{guarded.endpoint}")
        watch = store.watch(["/weft/"], 2)
        for number in range(3):
            await put(store, f"/weft/{number}")
            (changes,) = await take(watch, 1)
            assert changes.changes[0].key == f"/weft/{number}"
            await asyncio.sleep(2.2)  # the token dies between
        lease = await store.grant(5)
        await store.keep_alive(lease)
        guarded.stop()  # and with its member
        guarded.start()
        patient = EtcdStore(parse(f"etcd://weft:s3c%2Fret@{guarded.endpoint}"), patience=PATIENCE)
        await put(patient, "/weft/3")
        await patient.close()
        assert (await store.snapshot(["/weft/"])).items[-1].key == "/weft/3"
        await store.close()

    asyncio.run(test())


def test_who_may_not(guarded: Member) -> None:
    async def test() -> None:
        wrong = await refusal(open_store(f"etcd://weft:wr0ng@{guarded.endpoint}"))
        assert wrong.kind is Kind.REFUSED
        assert "weft" in str(wrong)
        assert "wr0ng" not in str(wrong) + repr(wrong)
        assert "wants a user" in str(await refusal(open_store(f"etcd://{guarded.endpoint}")))
        store = open_store(f"etcd://weft:s3c%2Fret@{guarded.endpoint}")
        assert "s3c" not in store.url + repr(store)
        for attempt in (store.snapshot(["/other/"]), put(store, "/other/x"), anext(store.watch(["/other/"], 1)),
                        anext(store.watch(["/weft/", "/z/"], 1))):  # fmt: skip
            with pytest.raises(WeftError) as caught:
                await attempt
            assert caught.value.kind is Kind.REFUSED, attempt
            assert "permission denied" in str(caught.value)
        await store.close()

    asyncio.run(test())
