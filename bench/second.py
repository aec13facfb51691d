"""100 triggers that fire every second, for 20 s: how late does a handler begin?

Evenly spread over the second, and all at its first moment: then half of them wait for the other half, on two cores for
the processor time of a hundred tasks.
"""

from typing import Final

from bench.figures import Scale
from bench.lateness import measure
from bench.question import Measures

QUESTION = "100 triggers firing every second, for 20 s: handler start after due"
TRIGGERS: Final = 100
TOGETHER: Final = [0] * TRIGGERS
EVENLY: Final = range(0, 1000, 1000 // TRIGGERS)
FULL, SMALL = 20, 3


def contenders(scale: Scale) -> Measures:
    seconds = scale.of(FULL, SMALL)
    return {
        "ours": lambda: measure(seconds, EVENLY),
        "ours, together": lambda: measure(seconds, TOGETHER),
    }
