"""What runs in the environments of the peers: nothing here may import what a peer does not have."""
