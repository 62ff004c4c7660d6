"""From a configuration to finished runs: what reproduce.py does, step by step."""
