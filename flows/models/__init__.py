"""The models: dbt, as Python runs it."""
