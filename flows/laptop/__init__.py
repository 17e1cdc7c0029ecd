"""Prefect flows that land TLC's taxi trips in PostgreSQL and have dbt build the models."""
