"""What a question is: a module with a sentence, and the contenders that are measured in turn."""

from collections.abc import Callable, Iterable
from typing import Protocol

from bench.figures import Figures, Scale
from bench.peers.table import Peer


class Failed(Exception):
    """A contender could not be installed or started, or did not do the work; the message holds the last words."""


Measure = Callable[[], Figures]
Measures = dict[str, Measure]


class Question(Protocol):
    """What a module of this directory holds; ``ROUNDS`` only where a round has several observations in itself."""

    QUESTION: str

    def contenders(self, scale: Scale) -> Measures:
        """Name → a function that measures one round; the names of ours begin with ``ours``."""


def of_peers(peers: Iterable[Peer], measure: Callable[[Peer], Figures]) -> Measures:
    """One contender for each peer."""
    return {peer.name: lambda peer=peer: measure(peer) for peer in peers}  # type: ignore[misc]
