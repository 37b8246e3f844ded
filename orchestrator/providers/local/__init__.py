"""Machines that are containers on this computer's container engine: for rehearsals."""
