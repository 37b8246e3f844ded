"""Machines for the stand-in for K3s."""

from tests.unit.standins.k3s_machine import make_node, port, server

__all__ = ["make_node", "port", "server"]
