"""Which URLs name an etcd, and that no password leaves them."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.model.errors import Kind, WeftError
from weft.store import open_store
from weft.store.etcd.address import PASSWORD, Address, parse


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        ("etcd://h", Address(("h:2379",)), "etcd://h:2379"),
        ("etcd://h:1,[::1],10.0.0.3:3/", Address(("h:1", "[::1]:2379", "10.0.0.3:3")), "etcd://h:1,[::1]:2379,10.0.0.3:3"),
        ("etcds://h", Address(("h:2379",), tls=True), "etcds://h:2379"),
        ("etcd://h?ca=/a%20b.pem", Address(("h:2379",), tls=True, ca="/a b.pem"), "etcds://h:2379?ca=/a%20b.pem"),
        ("etcd://h?cert=c&key=k&prefix=/x/", Address(("h:2379",), tls=True, cert="c", key="k", prefix="/x/"),
         "etcds://h:2379?cert=c&key=k&prefix=/x/"),
        ("etcd://a%40b:p%3A%40w@h", Address(("h:2379",), user="a@b", password="p:@w"), "etcd://a%40b@h:2379"),
        ("etcd://me@h", Address(("h:2379",), user="me", password="50% of:it"), "etcd://me@h:2379"),
    ],
)  # fmt: skip
def test_forms(url: str, address: Address, shown: str) -> None:
    parsed = parse(url, {PASSWORD: "50% of:it"})
    assert parsed == address
    assert parsed.url == shown
    if address.password:
        assert address.password not in repr(parsed) + shown


@pytest.mark.parametrize(
    "url",
    ["etcd:", "etcd://", "etcd:h:2379", "etcd://h:0", "etcd://h:65536", "etcd://h:x", "etcd://h,,i", "etcd://h/path",
     "etcd://:hidden@h", "etcd://@h", "etcd://me:@h", "etcd://me@h", "etcd://me:hidden@h:x", "etcd://me:hid/den@h,",
     "etcd://h?tls=1", "etcd://h?ca=", "etcd://h?ca=a&ca=b", "etcd://h?cert=a", "etcd://h?key=a", "etcd://h?ca=/none"],
)  # fmt: skip
def test_wrong_usage_is_told_without_the_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)
    with pytest.raises(WeftError) as caught:
        open_store(url)
    assert caught.value.kind is Kind.USAGE
    assert "hid" not in str(caught.value)
    assert caught.value.remedy


def test_certificates_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(WeftError) as caught:
        open_store(f"etcd://h?ca={tmp_path}/ca.pem")
    assert caught.value.kind is Kind.USAGE
    assert "ca.pem" in str(caught.value)
