"""Two parties on a secure engine. A party runs in the environment of the engine, without PyTorch."""
