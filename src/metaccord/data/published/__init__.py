"""Picture sets with published splits, from the files that users really hold."""
