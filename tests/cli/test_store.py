"""`weft store migrate`: all of a cluster, into an empty place, and back again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import FLEET, Weft
from tests.store.etcd_server import Member, started
from weft.store import Item, Put, open_store
from weft.store.intent import APPLYING
from weft.store.records import Keys

KEYS = Keys()


def written(url: str, *puts: Put, alive: str = "") -> None:
    async def work() -> None:
        store = open_store(url)
        lease = await store.grant(600) if alive else 0
        more = [Put(f"{KEYS.alive}{alive}", b"{}", lease)] if alive else []
        await store.transact([], [*puts, *more])
        await store.close()

    asyncio.run(work())


def items(url: str) -> tuple[Item, ...]:
    async def work() -> tuple[Item, ...]:
        store = open_store(url)
        snapshot = await store.snapshot()
        await store.close()
        return snapshot.items

    return asyncio.run(work())


def content(url: str) -> dict[str, bytes]:
    return {item.key: item.value for item in items(url) if not item.lease}


@pytest.fixture
def fleet(weft: Weft) -> Weft:
    """A store with intent, and what agents would add."""
    assert weft.apply(FLEET).code == 0
    written(
        weft.url,
        Put(f"{KEYS.status}h1", b"{}"),
        *(Put(f"{KEYS.endpoints}5000/02:00:00:00:{number // 256:02x}:{number % 256:02x}/h1", b"{}")
          for number in range(300)),
        alive="h1",
    )  # fmt: skip
    return weft


def test_from_file_to_file(fleet: Weft, tmp_path: Path) -> None:
    before = items(fleet.url)
    other = f"sqlite://{tmp_path}/new/weft.db"
    answer = fleet("store", "migrate", fleet.url, other)
    assert (answer.code, answer.out) == (0, "311 keys copied and compared; 1 with a lease left out\n")
    assert answer.err.startswith("weft: agents still follow the old store (h1); start each with --store")
    assert content(other) == content(fleet.url)
    assert items(fleet.url) == before, "the source stays as it is"
    assert fleet("get", "ports", "-o", "json").out == fleet("--store", other, "get", "ports", "-o", "json").out


def test_the_same_store_by_another_name(fleet: Weft, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for name in (fleet.url, f"sqlite://{tmp_path}/link/weft.db"):
        answer = fleet("store", "migrate", fleet.url, name)
        assert (answer.code, answer.out) == (1, "")
        assert (
            answer.err == f"weft: {name}: it is the source itself, or a copy of it; name another store to migrate to\n"
        )


def test_a_target_with_something_in_it(fleet: Weft, tmp_path: Path) -> None:
    other = f"sqlite://{tmp_path}/other.db"
    written(other, Put(f"{KEYS.facts}h9", b"here first"))
    answer = fleet("store", "migrate", fleet.url, other)
    assert answer.code == 1
    assert f"{other}: 1 keys are there already, such as /weft/default/facts/h9; choose another store" in answer.err
    assert content(other) == {f"{KEYS.facts}h9": b"here first"}


def test_other_clusters_stay_where_they_are(fleet: Weft, tmp_path: Path) -> None:
    other = f"sqlite://{tmp_path}/other.db"
    written(other, Put("/weft/lyon/intent", b"{}"))
    assert fleet("store", "migrate", fleet.url, other).code == 0
    assert content(other) == content(fleet.url) | {"/weft/lyon/intent": b"{}"}
    back = f"sqlite://{tmp_path}/back.db"
    assert fleet("store", "migrate", other, back, "--cluster", "lyon").out.startswith("1 keys copied")
    assert content(back) == {"/weft/lyon/intent": b"{}"}


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("sqlite:///proc/none/weft.db", 1, "/proc/none/weft.db: "),
        pytest.param(
            *("etcd://127.0.0.1:1", 1, "etcd does not answer (127.0.0.1:1: Connection refused)"),
            marks=pytest.mark.system,  # it takes its time
        ),
        ("memory:x", 2, "memory:x: it ends with this command"),
        ("ftp://h", 2, "ftp://h: not the URL of a store"),
    ],
)
def test_a_source_that_cannot_be_read_makes_no_target(
    weft: Weft, tmp_path: Path, source: str, code: int, words: str
) -> None:
    answer = weft("store", "migrate", source, f"sqlite://{tmp_path}/new.db")
    assert answer.code == code
    assert words in answer.err
    assert not (tmp_path / "new.db").exists()


def test_an_empty_source_makes_no_target(weft: Weft, tmp_path: Path) -> None:
    assert weft.apply(FLEET).code == 0
    answer = weft("store", "migrate", weft.url, f"sqlite://{tmp_path}/new.db", "--cluster", "lyon")
    assert answer.code == 1
    assert "nothing is stored below /weft/lyon/" in answer.err
    assert not (tmp_path / "new.db").exists()


@pytest.mark.system
def test_a_target_that_cannot_be_reached(fleet: Weft) -> None:
    before = items(fleet.url)
    answer = fleet("store", "migrate", fleet.url, "etcd://127.0.0.1:1")
    assert answer.code == 1
    assert "etcd://127.0.0.1:1: etcd does not answer (127.0.0.1:1: Connection refused)" in answer.err
    assert items(fleet.url) == before


def test_half_an_apply_is_not_migrated(fleet: Weft, tmp_path: Path) -> None:
    written(fleet.url, Put(KEYS.guard, APPLYING))
    answer = fleet("store", "migrate", fleet.url, f"sqlite://{tmp_path}/new.db")
    assert answer.code == 1
    assert "an apply is being written; wait for its end and migrate then" in answer.err
    assert not (tmp_path / "new.db").exists()


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Member]:
    (tmp_path / "etcd").mkdir()
    member = started(tmp_path / "etcd")
    yield member
    member.stop()


@pytest.mark.system
def test_to_etcd_and_back(fleet: Weft, tmp_path: Path, etcd: Member) -> None:
    back = f"sqlite://{tmp_path}/back.db"
    assert fleet("store", "migrate", fleet.url, etcd.url).code == 0
    alias = f"etcd://localhost:{etcd.port}"
    assert "it is the source itself" in fleet("store", "migrate", etcd.url, alias).err
    assert fleet("store", "migrate", alias, back).out == "311 keys copied and compared\n"
    assert content(back) == content(fleet.url)
    assert fleet("--store", back, "apply", "-f", "fleet.yaml").out == "nothing to change\n"
