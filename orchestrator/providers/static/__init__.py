"""Machines that are there already, at addresses of their own: claimed for a deployment, and released."""
