"""What private inference costs: measured, estimated, over links real and emulated."""
