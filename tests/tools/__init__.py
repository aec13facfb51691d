"""What the tests are made with: engines, key spaces, mutants, proxies, histories. Tested in tests/unit/tools."""
