"""What pipx and uv install of this folder: all that the program needs, and no more."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from flows.settings import ROOT

PACKAGE = "nyc_taxi_elt/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> ZipFile:
    """The wheel of this folder, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    # In this environment: else its build backend is fetched.
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    [path] = folder.glob("*.whl")
    return ZipFile(path)


def test_it_has_every_file_that_the_repository_has_of_the_program(wheel):
    found = {name.removeprefix(PACKAGE) for name in wheel.namelist() if name.startswith(PACKAGE)}
    tracked = subprocess.run(
        ["git", "ls-files", "flows", "dbt_project"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    if not tracked:
        pytest.skip("this is no git checkout")
    assert found ^ {*tracked, "pyproject.toml"} <= {"flows/installed.pth"}
    for name in ("flows/tlc/samples/samples.csv", "flows/report/page.html.j2"):
        assert wheel.read(f"{PACKAGE}{name}") == (ROOT / name).read_bytes()


def test_its_program_is_taxi_and_each_of_its_pythons_begins_with_the_environment(wheel):
    [entry] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "taxi = flows.program:main" in wheel.read(entry).decode()
    assert wheel.read("nyc_taxi_elt.pth") == Path(ROOT / "flows/installed.pth").read_bytes()


def test_nothing_of_a_persons_is_in_it(wheel):
    for name in wheel.namelist():
        assert not {".env", "data", "target", "logs"} & {*Path(name).parts}, name
