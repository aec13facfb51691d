"""The command line as a client, without a server."""
