"""Write handlers, connect them over one websocket, and submit tasks."""

__version__ = "0.1.0"
