"""Where a run gets its files from."""

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from flows.errors import is_url, shorten
from flows.tlc.datasets import DATASETS, Dataset
from flows.tlc.months import WRITTEN, read_month
from flows.tlc.sample import sample_file, sampled_one_in

SAMPLE = "sample"


@dataclass(frozen=True)
class Source:
    """A URL or path, the sample, or wherever TLC publishes a month.

    In a URL or path, `{month}` stands for the month and `{dataset}` for the dataset's name. The
    word `sample` is for the real trips of a few months that come with this project.
    """

    given: str | None = None  # None: TLC's own files

    def __str__(self) -> str:
        """As messages have it, without secrets."""
        return shorten(self.given) if self.given else "TLC's files"

    @property
    def is_sample(self) -> bool:
        """Whether its files are the sample."""
        return self.given == SAMPLE

    def sampled_one_in(self, dataset: Dataset, month: date) -> int | None:
        """How many trips of a month each of its file stands for; None if it was not drawn so."""
        return sampled_one_in(dataset.name, month) if self.is_sample else None

    @property
    def absolute(self) -> str | None:
        """The same for a program that starts in another folder."""
        return self.given if self.given is None or self.is_sample else absolute(self.given)

    @property
    def month(self) -> date | None:
        """The month in its file's name."""
        found = re.search(rf"{WRITTEN}(?!\d)", self.file_name)
        return read_month(found[0]) if found else None

    @property
    def dataset(self) -> Dataset | None:
        """The dataset in its file's name."""
        found = re.findall(rf"({'|'.join(DATASETS)})_tripdata", self.file_name)
        return DATASETS[found[-1]] if found else None

    @property
    def file_name(self) -> str:
        """The last part of its path: of a folder, the folder's name."""
        return (self.given or "").rstrip("/").rpartition("/")[2]

    def has_one_for_each(self, what: Literal["month", "dataset"]) -> bool:
        """Whether it names a file for each month, or for each dataset."""
        return self.given is None or self.is_sample or f"{{{what}}}" in self.given

    def locate(self, dataset: Dataset, month: date) -> str:
        """The URL or path of a month's file.

        Raises:
            UsageError: the month is from before the dataset's first, or there is no sample of it.
        """
        if self.is_sample:
            return str(sample_file(dataset.name, month))
        pattern = absolute(self.given or dataset.url(month))
        return pattern.replace("{month}", f"{month:%Y-%m}").replace("{dataset}", dataset.name)


def absolute(file: str) -> str:
    """A URL, or a path that means the same from whatever folder it is read."""
    return file if is_url(file) else str(Path(file).expanduser().resolve())
