"""A device that has to go down for another name."""

from __future__ import annotations

import errno
from typing import cast

import pytest

from weft.l2.user import naming
from weft.model.errors import WeftError
from weft.netlink.channel import NetlinkError, failure
from weft.netlink.links import Change, Link, Links


class Refusing:
    """Renames nothing that is up, or nothing at all."""

    def __init__(self, code: int) -> None:
        self.code, self.up, self.made = code, True, list[Change]()

    def change(self, link: Link, change: Change) -> None:
        if change.name and (self.up or self.code != errno.EBUSY):
            error = NetlinkError(self.code)
            raise failure(error, link.name, "rename") from error
        self.up = self.up if change.up is None else change.up
        self.made.append(change)


def test_an_older_kernel_renames_what_is_down() -> None:
    kernel = Refusing(errno.EBUSY)
    naming._rename(cast(Links, kernel), Link(7, "vm0", up=True), "vm1")
    assert kernel.made == [Change(up=False), Change(name="vm1", up=True)]


def test_what_is_refused_for_another_reason_stays_up() -> None:
    kernel = Refusing(errno.EEXIST)
    with pytest.raises(WeftError):
        naming._rename(cast(Links, kernel), Link(7, "vm0", up=True), "vm1")
    assert kernel.made == []
