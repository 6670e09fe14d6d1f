"""The profiles: one module each, a class of tests in each."""
