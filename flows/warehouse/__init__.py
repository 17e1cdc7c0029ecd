"""The warehouse: everything that speaks to PostgreSQL."""
