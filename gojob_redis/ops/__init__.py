"""For operators: the doctor and the generated documents."""
