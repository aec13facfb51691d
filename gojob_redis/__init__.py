"""A job scheduler with Redis at its centre: triggers fire once, tasks meet workers by label."""

__version__ = "0.1.0"
