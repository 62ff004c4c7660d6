"""Families of networks, one a file: each has ARCHITECTURES, names and constructors that take a `ModelSpec`."""
