"""A trained network as plain steps on plain arrays, for engines that are not PyTorch."""
