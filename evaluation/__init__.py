"""What a network is worth, as functions of a network."""
