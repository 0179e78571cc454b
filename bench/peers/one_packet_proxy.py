"""The plain VXLAN proxy in Python: one packet per system call, no offloads; arguments as of one_packet_proxy.c."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import sys

from weft.netlink.namespace import entered
from weft.wire.vxlan import Vxlan

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
_BURST = 64


def main() -> None:
    namespace, name, local, remote, port, vni = sys.argv[1:]
    with entered(namespace):
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        udp.setsockopt(socket.SOL_SOCKET, option, 8 << 20)
    udp.bind((local, int(port)))
    udp.connect((remote, int(port)))
    header = Vxlan(int(vni)).encode()
    poll = select.epoll()
    poll.register(tap, select.EPOLLIN)
    poll.register(udp, select.EPOLLIN)
    while True:
        for fd, _ in poll.poll():
            try:
                for _ in range(_BURST):
                    if fd == tap:
                        udp.send(header + os.read(tap, 65536))
                    else:
                        packet = udp.recv(65536)
                        if packet.startswith(header):
                            os.write(tap, packet[8:])
            except (BlockingIOError, ConnectionRefusedError):
                pass
            except OSError as error:
                if error.errno != errno.EIO:  # the device is not up yet
                    raise


if __name__ == "__main__":
    main()
