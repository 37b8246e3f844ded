"""Reaching machines: SSH with pinned host keys, and the inventory that Ansible gets."""
