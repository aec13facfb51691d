"""A worker's connection, from the handshake to the goodbye."""
