"""The command line ``gojob``: ``main`` starts processes, every other file is one noun of the API.

The nouns are commands on the HTTP API: GOJOB_URL says where, GOJOB_TOKEN who. ``calls`` asks the API and puts its
refusals into the words of the command line; ``options`` reads the options; ``gojob_redis.runtime.terminal`` prints.
Every command prints for people, or with ``--json`` what the API answered.
"""
