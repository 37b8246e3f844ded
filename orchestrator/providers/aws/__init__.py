"""Machines on AWS EC2."""
