"""Open vSwitch's datapath: VM ports in br-int, tunnels and tables in br-tun, the underlay's NIC in br-phy."""
