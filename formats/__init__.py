"""What every kind of file holds: a typed model each, which reads it, writes it and is its documentation."""
