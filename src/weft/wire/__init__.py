"""Sans-IO codecs and machines: Ethernet, ARP, ND, IP, UDP, TCP, ICMP, VXLAN. Pure: bytes in, values out.

Every header value has `encode(payload)` and `decode(data) -> (value, rest)`. What a value was read with but computes
itself when built (lengths, checksums) takes no part in comparisons. `packet.dissect` decodes whole frames, inner ones
included; `describe.describe` puts them on one line; `pcapng` reads and writes captures. Damage is a `WireError`.
"""
