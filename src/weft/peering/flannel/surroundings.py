"""What a node needs beside its backend: the subnet file, masquerading, and a word on what stands in its way."""

from __future__ import annotations

from collections.abc import Iterator

from weft.netlink import nft_forward, sysctl
from weft.peering.flannel import subnet_file
from weft.peering.flannel.backend import External
from weft.peering.flannel.config import NetworkConfig
from weft.peering.flannel.lease import Lease
from weft.peering.flannel.masquerade import Masquerade
from weft.peering.flannel.options import Options

_FLANNELS = "FLANNEL-FWD"
"""The chain in which flannel's daemon accepts what is forwarded; it stays until the host's next boot."""


class Surroundings:
    """Raises WeftErrors that name the file or the table."""

    def __init__(self, options: Options, config: NetworkConfig) -> None:
        self._options, self._config = options, config
        self._nat = Masquerade(options.namespace, options.fully_random) if options.masquerade else None

    def close(self) -> None:
        if self._nat:
            self._nat.close()

    def masquerade(self, own: Lease) -> bool:
        """Makes the masquerading as it is to be, if it is wanted; whether anything had to be done."""
        if self._nat is None or self._nat.stands(self._config, own):
            return False
        self._nat.put(self._config, own)
        return True

    def write_file(self, own: Lease, mtu: int) -> None:
        text = subnet_file.text(self._config, own, mtu, self._options.masquerade)
        subnet_file.write(self._options.subnet_file, text, own.etcd_lease)

    def obstacles(self, external: External) -> Iterator[tuple[str, str]]:
        """What keeps this host from meeting others, or from forwarding what containers send, and the remedy."""
        meeting = (external.public, external.public6, external.address, external.address6)
        if own := next((ip for ip in meeting if ip and ip.is_loopback), None):
            yield f"no other node can reach this one: it meets them by {own} of {external.name}", "give another -iface"
        names = {"ipv4/ip_forward": self._config.four, "ipv6/conf/all/forwarding": self._config.six}
        for name, wanted in names.items():
            if wanted and sysctl.read(name, self._options.namespace) == "0":
                yield "this host forwards nothing for its containers", f"sysctl -w net.{name.replace('/', '.')}=1"
        network = next(pool.network for pool in (self._config.four, self._config.six) if pool)
        for chain in nft_forward.dropping(self._options.namespace, accepting=_FLANNELS):
            what = f"this host drops what it forwards, unless a rule accepts it: nft chain {chain}"
            yield what, f"let it accept from and to {network}: docs/flannel.md, Limits"
