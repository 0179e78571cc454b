"""Which URL opens which store, and what is said of the others."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from weft.model.errors import Kind, WeftError
from weft.store import Put, default_url, open_store


def test_sqlite_makes_its_file_at_once(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/new/weft.db"
    store = open_store(url)
    assert (tmp_path / "new/weft.db").exists()
    assert store.url == url
    asyncio.run(store.close())


def test_memory_is_shared_by_name_only() -> None:
    async def run() -> None:
        one, same, other, alone, apart = (
            open_store(url) for url in ("memory:x", "memory:x", "memory:y", "memory:", "memory:")
        )
        await one.transact([], [Put("a", b"")])
        await alone.transact([], [Put("b", b"")])
        counts = [len((await store.snapshot()).items) for store in (one, same, other, alone, apart)]
        assert counts == [1, 1, 0, 1, 0]
        assert same.url == "memory:x"

    asyncio.run(run())


@pytest.mark.parametrize(
    "url",
    ["", "weft.db", "/var/lib/weft.db", "sqlite:", "sqlite:///", "sqlite://weft.db", "sqlite:/weft.db", "sqlite:///a/",
     "sqlite:///a\0b", "memory", "memory://x", "postgres://x", "etcd"],
)  # fmt: skip
def test_a_url_of_no_known_form_is_wrong_usage(url: str) -> None:
    with pytest.raises(WeftError) as caught:
        open_store(url)
    assert caught.value.kind is Kind.USAGE
    for form in ("sqlite:///absolute/path", "memory:", "memory:NAME", "etcd://host:2379"):
        assert form in caught.value.remedy


def test_the_default_is_the_machines_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_url() == "sqlite:///var/lib/weft/weft.db"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/me")
    for state in ("", "relative/is/ignored"):
        monkeypatch.setenv("XDG_STATE_HOME", state)
        assert default_url() == "sqlite:///home/me/.local/state/weft/weft.db"
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_url() == "sqlite:///state/weft/weft.db"
