"""Burnish: the complete open post-training recipe as one Python library."""

__version__ = "0.1.0"
