"""A node of a flannel network, written from the protocol alone and as plainly as can be: the other side in tests.

    python peer.py ETCD-URL PREFIX ADDRESS DEVICE SUBNET

Nothing of weft is in it. It speaks etcd's JSON gateway, takes the subnet by a lease, and follows the others' leases by
asking again and again; vxlan is made with iproute2, udp is a loop over a TUN device and a socket. SIGTERM gives the
lease back. It says `ready` when its side is there.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from ipaddress import IPv4Address, IPv4Network
from typing import Any

TUN, UDP_PORT = "flannel0", 8285
Peers = dict[IPv4Network, dict[str, Any]]


class Etcd:
    def __init__(self, url: str, prefix: str) -> None:
        self.url, self.prefix = url, prefix

    def ask(self, path: str, **fields: Any) -> Any:
        request = urllib.request.Request(f"{self.url}/v3/{path}", json.dumps(fields).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def get(self, key: str, many: bool = False) -> dict[str, str]:
        start = f"{self.prefix}/{key}"
        end = {"range_end": encode(start[:-1] + chr(ord(start[-1]) + 1))} if many else {}
        found = self.ask("kv/range", key=encode(start), **end).get("kvs", [])
        return {decode(each["key"]).removeprefix(f"{self.prefix}/"): decode(each["value"]) for each in found}

    def take(self, key: str, value: str) -> str:
        """The id of the lease that the new key hangs on."""
        lease: str = self.ask("lease/grant", TTL=86400)["ID"]
        name = encode(f"{self.prefix}/{key}")
        done = self.ask(
            "kv/txn",
            compare=[{"key": name, "target": "CREATE", "create_revision": "0"}],
            success=[{"request_put": {"key": name, "value": encode(value), "lease": lease}}],
        )
        assert done.get("succeeded"), f"{key} is taken"
        return lease


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def decode(text: str) -> str:
    return base64.b64decode(text).decode()


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


class Vxlan:
    """flannel.1: ARP, FDB and route for each peer."""

    def __init__(self, address: str, device: str, subnet: IPv4Network, config: dict[str, Any]) -> None:
        base = str(subnet.network_address)
        run("ip", "link", "add", "flannel.1", "mtu", "1450", "type", "vxlan", "id", "1", "dstport", "8472",
            "local", address, "dev", device, "nolearning")  # fmt: skip
        run("ip", "address", "add", f"{base}/32", "dev", "flannel.1")
        run("ip", "link", "set", "flannel.1", "up")
        mac = json.loads(run("ip", "-j", "link", "show", "flannel.1"))[0]["address"]
        self.said = {"BackendType": "vxlan", "BackendData": {"VNI": 1, "VtepMAC": mac}}

    def follow(self, peers: Peers, gone: set[IPv4Network]) -> None:
        for subnet, lease in peers.items():
            base, mac = str(subnet.network_address), lease["BackendData"]["VtepMAC"]
            run("ip", "neigh", "replace", base, "lladdr", mac, "dev", "flannel.1", "nud", "permanent")
            run("bridge", "fdb", "replace", mac, "dev", "flannel.1", "dst", lease["PublicIP"])
            run("ip", "route", "replace", str(subnet), "via", base, "dev", "flannel.1", "onlink")
        for subnet in gone:
            run("ip", "route", "delete", str(subnet), "dev", "flannel.1")


class Udp:
    """flannel0: each packet as it is in one datagram, one hop at either end."""

    def __init__(self, address: str, device: str, subnet: IPv4Network, config: dict[str, Any]) -> None:
        self.own, self.said, self.peers = subnet.network_address, {}, {}
        self.tun = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self.tun, 0x400454CA, struct.pack("16sH22x", TUN.encode(), 0x0001 | 0x1000))
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((address, UDP_PORT))
        run("ip", "address", "add", f"{self.own}/32", "dev", TUN)
        run("ip", "link", "set", TUN, "mtu", "1472", "up")
        run("ip", "route", "add", config["Network"], "dev", TUN)
        run("sysctl", "-qw", f"net.ipv4.conf.{TUN}.accept_local=1")
        threading.Thread(target=self.loop, daemon=True).start()

    def follow(self, peers: Peers, gone: set[IPv4Network]) -> None:
        kept = {subnet: to for subnet, to in self.peers.items() if subnet not in gone}
        self.peers = kept | {subnet: lease["PublicIP"] for subnet, lease in peers.items()}

    def loop(self) -> None:
        while True:
            for ready in select.select([self.tun, self.socket], [], [])[0]:
                if ready is self.tun:
                    self.out(bytearray(os.read(self.tun, 65536)))
                elif hop(packet := bytearray(self.socket.recv(65536))):
                    os.write(self.tun, packet)

    def out(self, packet: bytearray) -> None:
        if packet[0] >> 4 != 4:
            return
        target = IPv4Address(bytes(packet[16:20]))
        to = next((to for subnet, to in self.peers.items() if target in subnet), None)
        if to is None:
            os.write(self.tun, unreachable(self.own, packet))
        elif hop(packet):
            self.socket.sendto(packet, (to, UDP_PORT))


def ones(data: bytes) -> int:
    """The Internet checksum."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def hop(packet: bytearray) -> bool:
    packet[8] = max(0, packet[8] - 1)
    packet[10:12] = b"\0\0"
    packet[10:12] = ones(bytes(packet[: (packet[0] & 15) * 4])).to_bytes(2, "big")
    return packet[8] > 0


def unreachable(own: IPv4Address, packet: bytearray) -> bytes:
    told = struct.pack("!BBHI", 3, 0, 0, 0) + bytes(packet[:28])
    told = told[:2] + ones(told).to_bytes(2, "big") + told[4:]
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(told), 0, 0, 8, 1, 0, own.packed, bytes(packet[12:16]))
    return header[:10] + ones(header).to_bytes(2, "big") + header[12:] + told


def others(etcd: Etcd, own: IPv4Network) -> Peers:
    found = etcd.get("subnets/", many=True)
    peers = {IPv4Network(key.split("/")[1].replace("-", "/")): json.loads(value) for key, value in found.items()}
    return {subnet: lease for subnet, lease in peers.items() if subnet != own}


def main(url: str, prefix: str, address: str, device: str, text: str) -> None:
    etcd, subnet = Etcd(url, prefix), IPv4Network(text)
    config = json.loads(etcd.get("config")["config"])
    kind = {name.lower(): value for name, value in config["Backend"].items()}["type"].lower()
    side = {"vxlan": Vxlan, "udp": Udp}[kind](address, device, subnet, config)
    value = {"PublicIP": address, "PublicIPv6": None} | side.said
    lease = etcd.take(f"subnets/{text.replace('/', '-')}", json.dumps(value))

    def leave(*_: object) -> None:
        etcd.ask("lease/revoke", ID=lease)
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    print("ready", flush=True)
    known: Peers = {}
    while True:
        try:
            found = others(etcd, subnet)
        except (OSError, urllib.error.URLError):  # etcd is away: everything stays
            time.sleep(0.2)
            continue
        changed = {each: lease for each, lease in found.items() if known.get(each) != lease}
        side.follow(changed, set(known) - set(found))
        known = found
        time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
