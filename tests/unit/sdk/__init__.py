"""The SDK without a socket."""
