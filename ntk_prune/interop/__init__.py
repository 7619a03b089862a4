"""Weights of other libraries: their names, layouts and files."""
