"""What else stands on a host: a datapath that can't be asked has nothing, unless it forwards all the same."""

from __future__ import annotations

import pytest

from weft.cli.driver import cleaned, standing
from weft.l2.kernel.datapath import KernelDatapath
from weft.l2.ovs.datapath import OvsDatapath
from weft.l2.user.datapath import UserDatapath
from weft.model.errors import Kind, WeftError
from weft.model.node import DatapathKind
from weft.plan.node import Observed


def silent(_: object) -> Observed:
    raise WeftError(Kind.UNREACHABLE, "does not answer", where="it", remedy="kill -9 7")


def test_a_forwarder_that_hangs_is_no_empty_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UserDatapath, "observe", silent)
    monkeypatch.setattr(OvsDatapath, "observe", lambda _: Observed())
    with pytest.raises(WeftError, match="kill -9 7"):
        list(standing("test", DatapathKind.KERNEL))
    with pytest.raises(WeftError, match="kill -9 7"):
        list(cleaned(None, "test", "h1"))


def test_a_switch_that_does_not_run_has_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UserDatapath, "observe", lambda _: Observed())
    monkeypatch.setattr(KernelDatapath, "observe", lambda _: Observed())
    monkeypatch.setattr(OvsDatapath, "observe", silent)
    assert list(standing("test")) == []
