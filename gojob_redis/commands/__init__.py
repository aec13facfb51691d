"""Commands on the HTTP API, one file per noun: GOJOB_URL says where, GOJOB_TOKEN who.

``calls`` asks the API and puts its refusals into the words of the command line; ``options`` reads what was said;
``gojob_redis.terminal`` prints. Every command prints for people, or with ``--json`` what the API answered.
"""
