"""From a network to plain steps on plain arrays: traced, folded, fused; and the files that hold them."""
