"""What must agree between the files that share the settings, and what must not be in any."""

import configparser
import re
import subprocess

import pytest
import yaml

from flows.settings import ROOT, Settings

DEFAULTS = {
    "POSTGRES_HOST": "localhost",
    "POSTGRES_PORT": "5432",
    "POSTGRES_USER": "root",
    "POSTGRES_PASSWORD": "root",
    "POSTGRES_DB": "ny_taxi",
}


def read(name: str) -> str:
    return (ROOT / name).read_text()


class TestSettings:
    def test_of_the_flows(self, monkeypatch):
        for name in DEFAULTS:
            monkeypatch.delenv(name)
        settings = Settings(_env_file=None)
        assert settings.url.render_as_string(hide_password=False) == (
            "postgresql+psycopg2://root:root@localhost:5432/ny_taxi"
        )

    def test_of_the_example(self):
        found = dict(line.split("=") for line in read(".env.example").splitlines() if "=" in line)
        assert DEFAULTS.items() <= found.items()

    def test_of_dbt(self):
        found = re.findall(
            r"env_var\('(POSTGRES_\w+)', ''\) or '(\w+)'", read("dbt_project/profiles.yml")
        )
        assert dict(found) == DEFAULTS

    def test_of_docker_compose(self):
        found = set(re.findall(r"\$\{(POSTGRES_\w+):-(\w+)}", read("docker-compose.yml")))
        analyst = ("POSTGRES_ANALYST_PASSWORD", "analyst")
        assert found == DEFAULTS.items() - {("POSTGRES_HOST", "localhost")} | {analyst}


class TestDockerCompose:
    services = yaml.safe_load(read("docker-compose.yml"))["services"]

    def test_is_what_the_compose_specification_allows(self):
        schema = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec"]
        result = subprocess.run([*schema, ROOT / "docker-compose.yml"], capture_output=True)
        assert result.returncode == 0, result.stdout

    def test_pins_every_image(self):
        images = {service["image"] for service in self.services.values()} - {"nyc-taxi-elt"}
        assert all(re.search(r":\d+\.\d+$", image) for image in images)
        assert re.search(r"^FROM python:3\.\d+-slim-\w+$", read("Dockerfile"), re.MULTILINE)

    def test_checks_the_health_of_all_that_stays_up(self):
        staying = [service for service in self.services.values() if "restart" in service]
        assert len(staying) == 4
        assert all("healthcheck" in service for service in staying)

    def test_listens_on_this_machine_only(self):
        for service in self.services.values():
            assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))

    def test_the_worker_is_not_root(self):
        assert re.search(r"^USER taxi$", read("Dockerfile"), re.MULTILINE)

    def test_the_worker_is_that_of_make_worker_and_supervisor_runs_it_too(self):
        worker = self.services["worker"]["command"].removesuffix(" --with-healthcheck")
        assert f"exec $(BIN)/{worker}\n" in read("Makefile")
        supervisor = configparser.RawConfigParser(inline_comment_prefixes=";")
        supervisor.read(ROOT / "flows/server/supervisord.conf")
        server = supervisor["program:server"]["command"].replace(
            '"%(ENV_TAXI_PROJECT)s/.venv/bin/prefect"', "prefect"
        )
        assert server == self.services["prefect"]["command"]
        assert supervisor["program:worker"]["command"].endswith(" worker")

    def test_keeps_postgres_18s_data_where_its_image_has_it(self):
        assert self.services["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]


def test_the_lock_file_has_a_hash_for_each_package_and_no_address():
    lock = read("requirements.lock")
    packages = re.findall(r"^[a-z][\w.-]*==", lock, re.MULTILINE)
    assert len(packages) == len(set(re.findall(r"^[a-z][\w.-]*==\S+.*\\\n    --hash", lock, re.M)))
    assert "://" not in lock


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no git checkout")
def test_no_data_is_in_the_repository():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    assert "pyproject.toml" in tracked
    assert not re.search(r"\.(gz|parquet)$", tracked, re.MULTILINE)


def test_the_readme_names_only_make_targets_that_exist():
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z]+)", read("README.md"))) - {"alone"} <= targets
