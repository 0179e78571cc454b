"""One file that uses every key of the grammar, for the tests of this folder."""

FULL = """\
nodes:
  h1: {vtep: 192.168.33.12}
  h2: {vtep: 192.168.33.13}
  b1: {vtep: 192.168.34.2, datapath: user}
networks:
  blue:  {vni: 5000, subnet: 10.1.1.0/24, arp: proxy}
  green: {vni: 6000, subnet: 10.1.2.0/24, learning: data-plane, flood: {group: 239.1.1.1}, age: 5m}
  red: {vni: 7000, subnets: [10.1.1.0/24, 2001:db8::/64], mtu: 1400, udp_port: 8472, flood: none}
routers:
  tenant-a:
    gateways: {blue: 10.1.1.1}
    placement: distributed
    routes: [{to: 50.1.1.0/24, via: [10.1.1.2, 10.1.1.3]}]
    policies: [{from: 10.1.1.0/24, protocol: tcp, ports: [443], via: 10.1.1.2}]
  edge:
    gateways: {blue: 10.1.1.2}
    placement: [b1]
    external: {b1: {interface: eth9, address: 50.1.1.254/24, nat: masquerade, static: {10.1.1.11: 50.1.1.20}}}
ports:
  a: {network: blue, node: h1, ips: [10.1.1.11], attach: {namespace: a, gateway: none}, mac: 02:00:00:00:00:01}
  b: {network: blue, node: h2, attach: host}
  c: {network: red, node: h2, attach: {tap: tap0}, mobile: true}
  d: {network: red, node: h1}
lab:
  underlay:
    segments: {left: 192.168.33.0/24, right: {subnet: 192.168.34.0/24, mtu: 1400}}
    routers: {r1: [left, right]}
  external: {web: {interface: eth9, node: b1, address: 50.1.1.1/24}}
expect:
  - ping: {from: a, to: b, size: 1450, df: true}
    within: 5s
  - tables: {node: h1, fdb: [{network: blue, mac: port:b, vtep: h2}], exactly: true}
  - packets:
      on: underlay
      during: {ping: {from: a, to: b}}
      in order:
        - {arp: request, outer: h1>239.1.1.1, vni: 1}
        - {icmp: echo-reply, inner: b>*, outer_dst_mac: r1, broadcast: false}
      never: [{arp: any}]
  - tcp: {from: a, to: b, bytes: 100MB}
    not: true
  - exec: {on: a, run: ip a}
  - trace: {from: a, to: b, via: [10.1.1.1, h2]}
  - ping: {from: a, to: b, count: 9, interval: 10ms, lose: 3, ttl: 62, meanwhile: {move: {port: a, node: h2}}}
  - kill: {node: h2}
  - heal: {node: h2}
mutations:
  learning-off:
    h1: [ip link set x nolearning, "bridge fdb show"]
"""
