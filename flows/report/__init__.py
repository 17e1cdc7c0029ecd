"""The report: what the warehouse holds, for people."""

from flows.settings import DATA

PAGE = DATA / "report.html"
PATH = "/report"  # of the page on Prefect's server; see flows/server/pages.py
