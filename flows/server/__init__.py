"""What a team's server runs: Prefect's server, its deployments and workers."""
