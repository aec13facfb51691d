"""``gojob conformance``: plays the gateway's side, and its faults, to a worker in any language.

1. ``Stage`` listens on a port, starts the worker's command if there is one, and hands out connections.
2. ``Conversation`` is one connection: it keeps every frame the worker sent, and waits for the one a scenario asks for.
3. A scenario is a function that plays one part of ``docs/protocol.md`` and raises ``Failed`` where the worker departs
   from it; the files here that are named after a subject hold those of that subject.

It needs no Redis, and of this project only the frames.
"""
