"""The archive: raw months, which are the most of the warehouse, as Parquet files in data/archive.

python -m flows.archive --datasets green --months 2013-08..2019-12
"""

from flows import cli
from flows.parameters import Datasets, Months, Request, run_name, today


def archive_months(
    months: Months,
    datasets: Datasets | None = None,
    land_again: bool = False,
    pack: bool = False,
) -> "Outcome":
    """Write raw months to files, read those back, and drop the months' partitions.

    The trips and all that is made of them stay. A build that needs the rows lands them again by
    itself. Of a range, the months are archived that are loaded. A month that fails does not stop
    the others, and stays as it was; at the end the run fails and names it.

    Args:
        months: The months to archive, such as 2013-08..2019-12, or several ranges or months with
            blanks between them.
        datasets: Which of TLC's datasets, or all of them. Default: yellow.
        land_again: Land the months again from the archive instead. Their files stay.
        pack: Write the months anew by columns instead, where the server can, and keep them in raw.

    Raises:
        UsageError: the months are to be landed again, and packed.
        PipelineError: none of the months is loaded, or one of them has failed.
    """
    if land_again and pack:
        raise UsageError("land_again and pack: do one after the other")
    request = Request.resolve(today(), datasets, months)
    prepare_warehouse()
    loads = zip(request.months, present_loads(request.months), strict=True)
    asked = [one for one, load in loads if load]
    if not asked:
        raise PipelineError(f"{request}: no month of it is loaded")
    archived: list[Archived] = []
    failures: dict[str, Exception] = {}
    for one in asked:
        job = land_month_again if land_again else pack_month if pack else archive_month
        state: State[Any] = job(one.dataset, one.month, return_state=True)
        outcome: Any = state.result(raise_on_failure=False)
        if state.is_completed():
            archived += [outcome] if outcome else []
            continue
        failures[str(one)] = outcome
        extra = ONLY_LOG if len(asked) == 1 else {}  # then the run ends with it
        get_run_logger().error("%s", reason_of(outcome), extra=extra)
    if failures:
        raise error_of(failures, len(asked))
    return Outcome(tuple(archived), is_packed=pack)


if __name__ == "__main__":  # here: to refuse a wrong word takes none of the imports below
    cli.run(archive_months, reads_files=False)

from dataclasses import asdict, dataclass
from typing import Any

from prefect import State, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.alerts import alert
from flows.errors import ONLY_LOG, RETRIES, PipelineError, UsageError
from flows.land import error_of, reason_of
from flows.plan import present_loads
from flows.prepare import prepare_warehouse
from flows.warehouse.archive import Archived, archive_month, land_again, pack_month


@dataclass(frozen=True)
class Outcome:
    """What a run has archived."""

    archived: tuple[Archived, ...]
    is_packed: bool = False  # in raw, and not in the archive

    def __str__(self) -> str:
        """For the terminal: how much space it took, and takes."""
        before, after = (
            sum(getattr(one, name) for one in self.archived) / 1e6
            for name in ("raw_bytes", "bytes")
        )
        count = len(self.archived)
        months = f"{count} month{'s' * (count != 1)}"
        if self.is_packed:
            return f"{months}: {before:,.1f} MB before, {after:,.1f} MB now"
        where = f"{months} in data/archive, {after:,.1f} MB"
        return f"{where}; {before:,.1f} MB less in PostgreSQL" if count else ""

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "archived": [{**asdict(one), "month": f"{one.month:%Y-%m}"} for one in self.archived]
        }


land_month_again = task(
    name="land again",
    task_run_name="land {dataset.name} {month:%Y-%m} again",
    cache_policy=NO_CACHE,
    **RETRIES,
)(land_again)

archive = flow(name="archive", flow_run_name=run_name, on_failure=[alert], on_crashed=[alert])(
    archive_months
)
