"""The report: what the warehouse holds, for people."""
