"""The report alone, without a run."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Drawn:
    """A page that is drawn."""

    report: Path

    def __str__(self) -> str:
        """For the terminal."""
        return f"Look at it:  {self.report}"


def draw() -> Drawn:
    """Draw the report of what is loaded and built, without a run.

    Raises:
        PipelineError: the warehouse does not answer, or nothing is built in it.
    """
    # Not at the top: pandas and Prefect take seconds, and the command line needs but `draw`.
    from flows.errors import PipelineError
    from flows.report import PAGE
    from flows.report.facts import read_facts
    from flows.report.page import hash_of_what_it_is_made_of, page, write
    from flows.warehouse.connection import connect, current_url

    with connect(current_url()) as connection:
        if connection.exec_driver_sql("select to_regclass('trip_accounting') is null").scalar():
            raise PipelineError("nothing is built yet: `taxi run` loads a sample and builds")
        connection.rollback()
        found = read_facts(connection)
    write(page(found, hash_of_what_it_is_made_of()))
    return Drawn(PAGE)
