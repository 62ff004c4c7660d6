"""One data set a file: a `load_<name>` and the DatasetSpec that says the rest. `dataset.DATASETS` finds them here."""
