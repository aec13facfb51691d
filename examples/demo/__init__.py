"""`make demo`: a whole system on this machine, real work, real faults, and the evidence that nothing was lost."""
