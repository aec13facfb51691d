"""One row of the fault matrix per file; importing one registers it (``scenario.row``)."""
