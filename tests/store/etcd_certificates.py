"""An authority, and what it signs for an etcd and for those who ask it."""

from __future__ import annotations

import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def certificates(root: Path, *addresses: str) -> Path:
    """In `root`: ca.pem; server.pem for these IP addresses; client.pem without a CN, which etcd's gateway refuses once
    it has users; other.pem, an authority that signed nothing. Keys beside them: NAME.key."""
    new = ["req", "-x509", *_KEY, "-days", "2"]
    _openssl(root, *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=weft test", "-addext",
             "keyUsage=critical,keyCertSign")  # fmt: skip
    _openssl(root, *new, "-keyout", "other.key", "-out", "other.pem", "-subj", "/CN=another")
    names = ",".join(f"IP:{address}" for address in addresses)
    (root / "ext").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
    for name, subject in (("server", "/CN=etcd"), ("client", "/O=weft")):
        _openssl(root, "req", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
        _openssl(root, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                 "-days", "2", "-extfile", "ext", "-out", f"{name}.pem")  # fmt: skip
    return root


def _openssl(root: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=root, check=True, capture_output=True, timeout=60)
