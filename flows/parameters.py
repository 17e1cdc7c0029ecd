"""The types of the flows' parameters, for Python, Prefect's form and the command line alike.

The command line checks its words by these before it imports Prefect, which takes seconds, so
nothing here imports much.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from flows.errors import UsageError, shorten

SAMPLE = "sample"
TABLE_NAME = "yellow_taxi_trips"
# A month of it is called yellow_taxi_trips_2021_01, and PostgreSQL cuts names at 63 bytes.
PLAIN_NAME = r"(?!pg_)[a-z_][a-z0-9_]{0,54}"


class Limits(BaseModel):
    """What a file may be like; one beyond these is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    malformed_share: float = Field(
        default=0.01,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="The share of a file's lines that may be malformed, from 0 to 1.",
    )
    other_months_share: float = Field(
        default=0.25,  # a few trips are always of another month, or of a clock that went wrong
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="The share of a file's trips that may begin in other months, from 0 to 1.",
    )
    gigabytes: float = Field(
        default=10.0,  # TLC's largest CSV has 2.5
        gt=0,
        allow_inf_nan=False,
        description="How large a file may be when unpacked, as text, in 10^9 bytes.",
    )


def check_table_name(name: str) -> str:
    """Return a name that the trips' table can have without quotes.

    Raises:
        UsageError: the name is not plain, or it belongs to another model or to SQL.
    """
    if name != TABLE_NAME and (not re.fullmatch(PLAIN_NAME, name) or name in taken_names()):
        raise UsageError(
            f"{shorten(name)!r} can't be the name of the trips' table: use up to 55 lower-case "
            "letters, digits and underscores, not an SQL keyword or another model's name"
        )
    return name


def taken_names() -> set[str]:
    """The names of the other models and seeds, and SQL's keywords."""
    # Not at the top: SQLAlchemy takes half a second, and nearly every run has the default name.
    from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

    from flows.settings import ROOT

    patterns = ("models/**/*.sql", "seeds/*.csv")
    files = [path for pattern in patterns for path in (ROOT / "dbt_project").glob(pattern)]
    return {path.stem for path in files} - {TABLE_NAME} | RESERVED_WORDS


TableName = Annotated[
    str, AfterValidator(check_table_name), Field(json_schema_extra={"pattern": f"^{PLAIN_NAME}$"})
]
LookBack = Annotated[int, Field(ge=1, le=240)]
