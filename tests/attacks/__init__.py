"""Attacks on a real system by a stranger or a hostile tenant, with the bounds that must hold."""
