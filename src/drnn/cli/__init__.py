"""The command ``drnn``: one verb a file."""
