"""ReLU masks: counting, watching and comparing them, budgets, and one search a file."""
