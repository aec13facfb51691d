"""``python -m gojob_redis.cli`` is ``gojob``."""

from gojob_redis.cli.main import main

main()
