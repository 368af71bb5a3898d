"""Answers for image files."""
