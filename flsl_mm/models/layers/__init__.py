"""Fast layers, apart from the science; each has its plain twin in the tests."""
