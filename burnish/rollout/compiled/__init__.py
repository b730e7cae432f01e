"""Loops of a decode step as machine code, made by numba where it is installed (extra `fast`)."""
