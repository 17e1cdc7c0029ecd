"""What must agree between the files that share the settings, and what must not be in any."""

import configparser
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import compose_script, run_query
from pydantic import SecretStr

from flows.prepare import check_rights
from flows.program import COMMANDS
from flows.settings import ROOT, Settings
from flows.warehouse import embedded as embedded_postgres
from flows.warehouse.connection import Refused, connect

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
            monkeypatch.delenv(name, raising=False)
        settings = Settings(_env_file=None)
        assert settings.url.render_as_string(hide_password=False) == (
            "postgresql+psycopg2://root:root@localhost:5432/ny_taxi"
        )

    def test_of_the_example(self):
        lines = read(".env.example").replace("#POSTGRES", "POSTGRES").splitlines()
        found = dict(line.split("=") for line in lines if "=" in line and line[0] != "#")
        assert DEFAULTS.items() <= found.items()

    def test_of_dbt(self):
        found = re.findall(
            r"env_var\('(POSTGRES_\w+)', ''\) or '(\w+)'", read("dbt_project/profiles.yml")
        )
        assert dict(found) == DEFAULTS

    def test_of_docker_compose(self):
        found = set(re.findall(r"\$\{(POSTGRES_\w+):-(\w+)}", read("docker-compose.yml")))
        assert found == DEFAULTS.items() - {("POSTGRES_HOST", "localhost")}

    def test_of_the_server_are_the_same_in_docker_compose_and_embedded(self):
        command = yaml.safe_load(read("docker-compose.yml"))["services"]["postgres"]["command"]
        its_own = {
            *("unix_socket_directories", "password_encryption"),
            "max_parallel_workers_per_gather",  # by the cores of this machine
        }
        embedded = embedded_postgres.SERVER_SETTINGS
        assert dict(re.findall(r"-c (\w+)=(\S+)", command)) == {
            name: value for name, value in embedded.items() if name not in its_own
        }


class TestDockerCompose:
    services = yaml.safe_load(read("docker-compose.yml"))["services"]

    def test_is_what_the_compose_specification_allows(self):
        schema = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec"]
        result = subprocess.run([*schema, ROOT / "docker-compose.yml"], capture_output=True)
        assert result.returncode == 0, result.stdout

    def test_pins_every_image(self):
        images = {service["image"] for service in self.services.values()} - {"nyc-taxi-elt"}
        assert all(re.search(r":\d+\.\d+(\.\d+-pg\d+)?$", image) for image in images)
        assert re.search(r"^FROM python:3\.\d+\.\d+-slim-\w+$", read("Dockerfile"), re.MULTILINE)

    def test_checks_the_health_of_all_that_stays_up(self):
        staying = [service for service in self.services.values() if "restart" in service]
        assert len(staying) == 7  # three of them with the profile citus
        assert all("healthcheck" in service for service in staying)

    def test_listens_on_this_machine_only(self):
        for service in self.services.values():
            assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))

    def test_the_worker_is_not_root(self):
        assert re.search(r"^USER taxi$", read("Dockerfile"), re.MULTILINE)

    def test_its_worker_is_that_of_make_worker_and_supervisor_runs_it_too(self):
        worker = "python -m flows.server.worker"
        assert self.services["worker"]["command"] == f"{worker} --with-healthcheck"
        assert "exec $(BIN)/taxi worker $(ARGS)\n" in read("Makefile")
        assert COMMANDS["worker"].where == f"{worker.rpartition(' ')[2]}:work"
        supervisor = configparser.RawConfigParser(inline_comment_prefixes=";")
        supervisor.read(ROOT / "flows/server/supervisord.conf")
        python = '"%(ENV_TAXI_PYTHON)s"'
        assert supervisor["program:worker"]["command"] == worker.replace("python", python)
        server = self.services["prefect"]["command"]
        assert supervisor["program:server"]["command"] == server.replace("python", python)

    def test_its_programs_have_the_secrets_that_it_has_made(self, tmp_path):
        """The scripts of the containers, run on this machine."""
        script = compose_script("make_secrets", tmp_path)
        subprocess.run(["bash", "-c", script], check=True)
        made = (tmp_path / "prefect.env").read_text()
        subprocess.run(["bash", "-c", script], check=True)
        assert (tmp_path / "prefect.env").read_text() == made
        [entrypoint] = re.findall(r"^ENTRYPOINT (.+)$", read("Dockerfile"), re.MULTILINE)
        command = [part.replace("/secrets", str(tmp_path)) for part in json.loads(entrypoint)]
        environment = {"PATH": os.environ["PATH"]}
        output = subprocess.run([*command, "env"], env=environment, capture_output=True, text=True)
        secrets = dict(line.split("=", 1) for line in output.stdout.splitlines())
        credential = secrets["PREFECT_API_AUTH_STRING"]
        assert re.fullmatch(r"admin:[\w-]{32}", credential)
        assert secrets["PREFECT_SERVER_API_AUTH_STRING"] == credential
        assert secrets["PREFECT_SERVER_DATABASE_PASSWORD"] not in credential

    @pytest.mark.usefixtures("prefect_server")
    def test_prefects_role_owns_its_database_and_nothing_more(self, superuser):
        """It is the suite's server that runs on the database which the script has made."""
        owned = (
            "select rolname, rolsuper or rolcreatedb or rolcreaterole from pg_database "
            "join pg_roles on pg_roles.oid = datdba where datname = 'prefect'"
        )
        assert run_query(superuser, owned) == [("prefect", False)]
        others = "select count(*) from pg_database where datdba = 'prefect'::regrole"
        assert run_query(superuser, others) == [(1,)]

    def test_its_superuser_has_no_password_and_its_owner_owns_the_warehouse_alone(self, own_server):
        """The script of the container, run on a new server of this machine."""
        embedded_postgres.start(embedded_postgres.DATA_DIR, own_server.port, own_server.host)
        superuser = embedded_postgres.superuser(embedded_postgres.DATA_DIR, own_server)
        config = yaml.safe_load(read("docker-compose.yml"))["configs"]
        script = config["create_owner"]["content"].replace("$$", "$")
        definition = shlex.quote(str(ROOT / config["database_sql"]["file"]))
        script = script.replace("/database.sql", definition)
        environment = {
            "PATH": f"{embedded_postgres.programs()}:{os.environ['PATH']}",
            "PGHOST": own_server.host,
            "PGPORT": str(own_server.port),
            "PGPASSWORD": superuser.password.get_secret_value(),
            "POSTGRES_USER": superuser.user,
            "POSTGRES_DB": superuser.db,
            "OWNER": "root",
            "OWNER_PASSWORD": "ro'ot",
            "OWNER_DATABASE": "ny_taxi",
        }
        subprocess.run(["bash", "-ec", script], env=os.environ | environment, check=True)
        with pytest.raises(Refused, match="password authentication failed"), connect(superuser):
            pass
        root = {"user": "root", "password": SecretStr("ro'ot")}
        owner = own_server.model_copy(update=root)
        rights = (
            "select rolsuper or rolcreatedb or rolcreaterole from pg_roles where rolname = user"
        )
        assert run_query(owner, rights) == [(False,)]
        with connect(owner) as connection:
            check_rights(connection)
        log = (embedded_postgres.DATA_DIR / "server.log").read_text()
        assert "ro'ot" not in log

    def test_pgadmin_connects_as_the_owner(self):
        servers = json.loads(
            re.sub(
                r"\$\{\w+:-(\w+)}",
                r"\1",
                yaml.safe_load(read("docker-compose.yml"))["configs"]["pgadmin_servers"]["content"],
            )
        )
        assert servers["Servers"]["1"]["Username"] == DEFAULTS["POSTGRES_USER"]
        owner = self.services["postgres"]["environment"]["OWNER"]
        assert owner == "${POSTGRES_USER:-root}"

    def test_keeps_postgres_18s_data_where_its_image_has_it(self):
        assert "postgres:/var/lib/postgresql" in self.services["postgres"]["volumes"]


@pytest.mark.parametrize("path", sorted(ROOT.glob(".github/workflows/*.yml")), ids=lambda p: p.stem)
def test_a_workflow_is_what_github_allows(path):
    schema = ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"]
    result = subprocess.run([*schema, path], capture_output=True)
    assert result.returncode == 0, result.stdout


def test_the_versions_of_python_are_the_same_wherever_they_are_named():
    [first, after] = re.search(
        r'requires-python = ">=3\.(\d+),<3\.(\d+)"', read("pyproject.toml")
    ).groups()
    last = int(after) - 1
    assert f"Python 3.{first} to 3.{last}" in read("README.md")
    assert f"(3, {first}) <= sys.version_info < (3, {after})" in read("Makefile")
    for workflow in ("ci", "weekly"):
        jobs = yaml.safe_load(read(f".github/workflows/{workflow}.yml"))["jobs"]
        [job] = jobs.values()
        assert job["strategy"]["matrix"]["python"] == [f"3.{first}", f"3.{last}"]


def test_the_lock_file_has_a_hash_for_each_package_and_no_address():
    lock = read("requirements.lock")
    packages = re.findall(r"^[a-z][\w.-]*==", lock, re.MULTILINE)
    assert len(packages) == len(set(re.findall(r"^[a-z][\w.-]*==\S+.*\\\n    --hash", lock, re.M)))
    assert "://" not in lock


def test_no_locked_package_downloads_a_program_while_it_installs():
    assert "dbt-core==" in read("requirements.lock")
    assert "dbt-core-experimental-parser" not in read("requirements.lock")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no git checkout")
def test_no_data_is_in_the_repository_but_the_sample():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    assert "pyproject.toml" in tracked
    data = [name for name in tracked.splitlines() if name.endswith((".gz", ".parquet"))]
    assert {str(Path(name).parent) for name in data} == {"flows/tlc/samples"}


def test_the_readme_names_only_make_targets_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)", read("README.md"))) - {"alone"} <= targets


def test_the_page_about_speed_shows_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import results

    page = read("docs/speed.md")
    shown = set(re.findall(r"^<!-- (?!end|machines)([\w-]+) -->$", page, flags=re.M))
    assert shown
    assert results.read().keys() >= shown
    assert results.filled(page) == page
