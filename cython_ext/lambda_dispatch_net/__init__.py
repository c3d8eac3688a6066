"""Sockets, for router and extension alike: wires and the hub that serves them."""
