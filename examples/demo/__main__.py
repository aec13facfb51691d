"""``python -m examples.demo`` tells the whole story; with ``--stay`` the system runs until Ctrl-C."""

from examples.demo.demo import main

main()
