"""Others that a user would pick instead, measured in the same run on the same kind of engine.

1. ``table.py`` says what each is, which versions are installed and how its worker is started.
2. ``install.py`` gives each an environment of its own below ``build/peers``.
3. ``apps/`` holds, for each, the tasks and a feeder; these run in the peer's environment and import nothing of ours but
   ``apps/tally.py`` and ``apps/feeder.py``.
4. ``stage.py`` starts an engine, a feeder and workers, and reads what the workers counted.
"""
