"""Machines on clouds that run OpenStack."""
