"""The whole life against a small model, on the real Lua: random walks, and every order of a few moves."""
