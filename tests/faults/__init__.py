"""The fault campaign: real processes, a nemesis with a seed, and a verdict from three independent records."""
