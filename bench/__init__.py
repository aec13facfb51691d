"""`make bench`: one question per file. Figures are of this machine; only ratios travel."""
