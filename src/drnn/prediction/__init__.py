"""A network by what a user may name, and its answers for image files."""
