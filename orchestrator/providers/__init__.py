"""Infrastructure APIs, one folder each, independent of each other."""
