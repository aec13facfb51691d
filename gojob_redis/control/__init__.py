"""The control plane: the installation, its namespaces, its tokens."""
