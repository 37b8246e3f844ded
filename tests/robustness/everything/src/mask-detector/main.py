"""Stands for the code of a component."""
