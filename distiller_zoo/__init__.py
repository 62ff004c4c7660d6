"""The losses of robust distillation: how to compare (kd.py, attention.py), and what with what (modes.py)."""
