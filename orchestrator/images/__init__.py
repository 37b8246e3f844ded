"""Builds container images: the base of local machines, and the images of components."""
