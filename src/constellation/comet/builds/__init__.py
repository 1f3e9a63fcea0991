"""Building functions: sources go in, the tree that becomes /code comes out."""
