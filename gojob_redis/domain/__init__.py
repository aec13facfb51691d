"""The words the domain is made of: names, ids, states, limits, errors. No input or output."""
