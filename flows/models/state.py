"""What is built: of which months, with which project, and under which names."""

import hashlib
from dataclasses import dataclass

import yaml
from prefect import runtime

from flows.parameters import TABLE_NAME
from flows.settings import PROJECT
from flows.tlc.datasets import DATASETS, Dataset
from flows.warehouse.connection import connect


@dataclass(frozen=True)
class Build:
    """What a build did."""

    models: int
    tests: int
    seconds: float

    def __str__(self) -> str:
        """For the terminal."""
        return f"Built: {self.models} models, {self.tests} tests, in {self.seconds:.1f} s"


def trips_table() -> str:
    """The name of the analysts' table of yellow-taxi trips: the flow run's `table_name`."""
    return str(runtime.flow_run.parameters.get("table_name", TABLE_NAME))


def table_of(dataset: Dataset) -> str:
    """The analysts' table of a dataset's trips."""
    return trips_table() if dataset.table == TABLE_NAME else dataset.table


# The last build has succeeded and was of this project, and no relation that it made is gone.
PROJECT_IS_BUILT = """
    exists (
        select from bookkeeping.built_projects
        where trips_table = %(table)s and project = %(project)s
    )
    and (select bool_and(to_regclass(name) is not null) from unnest(%(relations)s) as name)
"""

MONTHS_ARE_BUILT = """
    not exists (
        select
        from (
            select dataset, source_month, max(load_id) as load_id
            from raw.loads group by dataset, source_month
        ) as loaded
        full join (
            select * from bookkeeping.built_months
            where relation = any(%(trips)s)
        ) as built using (dataset, source_month)
        where loaded.load_id is distinct from built.load_id
    )
    and not exists (
        select
        from (
            select distinct relation from bookkeeping.built_months
            where relation = any(%(relations)s)
        ) as built
        cross join raw.lost_months('bookkeeping.built_months', built.relation)
    )
"""


def is_up_to_date() -> bool:
    """Whether a build would change nothing: the project, the months and the tables are the same.

    Then dbt is not even imported.

    Raises:
        Unreachable: the warehouse does not answer.
    """
    return are_true(PROJECT_IS_BUILT, MONTHS_ARE_BUILT)


def is_of_months_alone() -> bool:
    """Whether views and seeds are as a build would make them.

    Never on several servers: one that is new gets the seeds from a whole build.

    Raises:
        Unreachable: the warehouse does not answer.
    """
    return are_true(PROJECT_IS_BUILT, "not raw.is_on_several_servers()")


def are_true(*conditions: str) -> bool:
    """Whether all conditions on what is built hold; not before anything was."""
    with connect() as connection:
        if not connection.exec_driver_sql(
            "select to_regclass('bookkeeping.built_projects') is not null"
        ).scalar():
            return False
        return bool(
            connection.exec_driver_sql(
                f"select {' and '.join(conditions)}",
                {
                    "table": trips_table(),
                    "project": fingerprint(),
                    "relations": relations(),
                    "trips": [f"public.{table_of(dataset)}" for dataset in DATASETS.values()],
                },
            ).scalar()
        )


def remember_build(project: str) -> None:
    """Let later builds know with which project all models have been built and tested."""
    with connect() as connection, connection.begin():
        connection.exec_driver_sql(
            "insert into bookkeeping.built_projects (trips_table, project) values (%s, %s)"
            " on conflict (trips_table) do update set project = excluded.project",
            (trips_table(), project),
        )


def fingerprint() -> str:
    """A hash of dbt's project: of all files that dbt reads."""
    digest = hashlib.sha256()
    patterns = ("*.yml", "*/**/*.sql", "*/**/*.yml", "*/**/*.md", "seeds/*.csv")
    outputs = (PROJECT / "target", PROJECT / "logs")
    for path in sorted({path for pattern in patterns for path in PROJECT.glob(pattern)}):
        if not any(path.is_relative_to(output) for output in outputs):
            digest.update(f"{path.relative_to(PROJECT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def relations() -> list[str]:
    """The tables and views that dbt makes, each as `schema.name`."""
    project = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())
    models, seeds = project["models"]["nyc_taxi"], project["seeds"]["nyc_taxi"]
    found = [f"{seeds['+schema']}.{path.stem}" for path in PROJECT.glob("seeds/*.csv")]
    for path in PROJECT.glob("models/*/**/*.sql"):
        folder = path.relative_to(PROJECT / "models").parts[0]
        name = trips_table() if path.stem == TABLE_NAME else path.stem
        found.append(f"{models[folder]['+schema']}.{name}")
    return found
