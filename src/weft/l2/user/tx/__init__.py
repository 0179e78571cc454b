"""From devices into tunnels: frames become trains of datagrams."""
