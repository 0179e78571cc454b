#!/bin/bash
# A host of its own, in the network and mount namespaces that this is started in: the system's Open vSwitch at the
# system's own places, started as Debian starts it, with other people's things in it, and Weft by its command line.
# $1: a directory for files. Prints what is foreign before, with Weft, and after `--cleanup`, and what Weft shows.
set -euo pipefail
work=$1
weft() { python -m weft "$@"; }
for place in /run /etc/openvswitch /var/lib/openvswitch /var/log/openvswitch; do
  mount -t tmpfs none "$place"
done
mkdir -p /run/openvswitch
ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server /etc/openvswitch/conf.db --remote=punix:/var/run/openvswitch/db.sock --pidfile --detach --log-file -vconsole:off
ovs-vsctl --no-wait init
ovs-vswitchd --pidfile --detach --log-file -vconsole:off
agent=
stop() {
  [ -z "$agent" ] || kill "$agent" 2>/dev/null || true
  kill "$(cat /run/openvswitch/ovs-vswitchd.pid)" "$(cat /run/openvswitch/ovsdb-server.pid)"
}
trap stop EXIT

ip link set lo up
ip link add eth1 type veth peer name far
ip link set far up
ip link set eth1 up
ip address add 192.168.33.12/24 dev eth1

ovs-vsctl add-br br-ex -- set bridge br-ex datapath_type=netdev external-ids:by=somebody
ovs-vsctl add-port br-ex ex0 tag=7 -- set interface ex0 type=internal external-ids:by=somebody
ovs-ofctl add-flow br-ex cookie=0xbeef,priority=9,dl_vlan=7,actions=drop
ip address add 198.51.100.1/24 dev ex0

foreign() {
  echo "== $1"
  ovs-vsctl --columns=name,datapath_type,external_ids list bridge br-ex
  ovs-vsctl --columns=name,tag,external_ids list port ex0
  ovs-vsctl --columns=name,type,external_ids list interface ex0
  ovs-ofctl --no-stats --no-names dump-flows br-ex
  ip -brief address show dev ex0 | tr -s ' '
  [ "$1" = before ] || {
    ovs-vsctl --columns=name,tag list port foreign0
    ovs-ofctl --no-stats --no-names dump-flows br-tun cookie=0xbeef/-1
  }
}
foreign before

cat >"$work/net.yaml" <<'YAML'
nodes:
  h1: {vtep: 192.168.33.12, datapath: ovs}
  h2: {vtep: 192.168.33.13}
networks:
  blue: {vni: 5000, subnet: 10.1.1.0/24}
ports:
  a: {network: blue, node: h1, ips: [10.1.1.11], attach: host}
  b: {network: blue, node: h2, ips: [10.1.1.12]}
YAML
export WEFT_STORE=sqlite://$work/weft.db
weft apply -f "$work/net.yaml" >/dev/null
start() {
  python -m weft agent --node h1 --datapath ovs >>"$work/agent.log" 2>&1 &
  agent=$!
}
await() { # a condition, for up to 2 min
  for _ in $(seq 1200); do
    if eval "$1" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  echo "not in time: $1" >&2
  tail -20 "$work/agent.log" >&2
  return 1
}
start
await "ovs-ofctl dump-flows br-tun table=20 | grep priority=2"
ovs-vsctl add-port br-int foreign0 tag=9 -- set interface foreign0 type=internal
ovs-ofctl add-flow br-tun cookie=0xbeef,table=20,priority=5,dl_vlan=9,actions=drop
echo "== shown"
weft show fdb --node h1 -o json
foreign with
kill "$agent" && wait "$agent" || true
ovs-appctl -t ovs-vswitchd version | head -1
weft agent --node h1 --datapath ovs --cleanup
agent=
foreign after
echo "== left"
ovs-vsctl list-br
ip -brief address show dev eth1 | tr -s ' '
