"""The program that feeds a peer: see ``feeder.py``."""

import asyncio
import importlib
import sys

if __name__ == "__main__":
    app, verb, *words = sys.argv[1:]
    asyncio.run(importlib.import_module(f"bench.peers.apps.{app}").feeder.main(verb, *words))
