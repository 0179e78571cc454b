"""The store of a fleet: etcd v3, spoken to through its own JSON gateway (docs/decisions/0004-own-etcd-client.md).

address   the URL: endpoints, TLS, user
messages  what etcd answers, as typed values
client    calls: fail-over, time limits, tokens, and noticing that the store's history went back
watch     the stream of changes: liveness, reconnect, whole transactions
store     `weft.store.store.Store` in terms of the above
"""

from weft.store.etcd.store import EtcdStore

__all__ = ["EtcdStore"]
