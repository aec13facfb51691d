"""What a stranger, or a tenant who means harm, can send: attacks on a real system, with the bounds that must hold."""
