"""Thin, typed access to what several layers talk to: the container engine, HTTP, the API of OSCAR."""
