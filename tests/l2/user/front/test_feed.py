"""What the front hands to a worker that is late."""

from __future__ import annotations

import socket

import pytest

from weft.l2.user.front.feed import Feed
from weft.l2.user.front.sockets import Name


def test_a_late_answer_is_never_taken_for_that_to_the_next_message() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    feed = Feed(ours)
    feed.within(0.01)
    with ours, theirs:
        with pytest.raises(TimeoutError):
            feed.withdraw(Name("192.168.33.12", 4789))
        assert theirs.recv(1 << 16)
        assert not theirs.recv(1), "for the worker it is the end"
        with pytest.raises(BrokenPipeError):
            feed.withdraw(Name("192.168.33.13", 4789))
