"""limecli: explain any model's decision with LIME, and say how far to trust it."""

__version__ = "0.1.0"
