"""TLC's files: what is published, and how to get and read it. Nothing here knows a database."""
