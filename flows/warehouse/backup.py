"""Backup and restore of the embedded server's warehouse.

    taxi backup
    taxi restore [folder]

A backup is a folder in `data/backups`: PostgreSQL's own dump of the whole database, the roles,
which no dump of a database has, and a manifest of what the warehouse held at that moment. A restore
is made in a database apart, compared with the manifest, and only then put in the warehouse's place.
"""

import hashlib
import json
import logging
import os
import shutil
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import SQL, Identifier
from sqlalchemy import URL

from flows import interrupt
from flows.environment import ROOT
from flows.errors import PipelineError, first_line
from flows.settings import Settings, read_settings
from flows.warehouse import embedded, local_server
from flows.warehouse.connection import address, connect, driver_of, in_one_line, libpq_of, value_of

MANIFEST, DUMP, ROLES = "manifest.json", "dump", "roles.sql"
JOBS = str(min(4, os.cpu_count() or 1))  # each of pg_dump's and pg_restore's has a connection
COMPRESSION = "gzip:1"  # the embedded pg_dump is built without zstd and lz4
IN_WORK = "nyc-taxi-elt backup or restore"
INTERRUPTED = "interrupted: no backup was made, and nothing was restored; run again"

# The tables of the database, and by which of these columns their rows are counted. A partition's
# rows are its table's; those of an extension are not dumped.
TABLES = """
select format('%I.%I', nspname, relname), array(
    select attname::text from pg_attribute
    where
        attrelid = pg_class.oid and attname in ('dataset', 'source_month')
        and attnum > 0 and not attisdropped
    order by attname
)
from pg_class
inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
where
    relkind in ('r', 'p') and not relispartition and relpersistence <> 't'
    and nspname !~ '^pg_' and nspname <> 'information_schema'
    and not exists (select from pg_depend where objid = pg_class.oid and deptype = 'e')
order by 1
"""
# The hash does not depend on the order of the rows, and takes two microseconds for each.
CONTENT = """
select {}count(*), coalesce(sum(hashtextextended(counted_row::text, 0)), 0)::text
from {} as counted_row {}
"""
AUDIT = """
select distinct on (dataset, source_month)
    dataset, to_char(source_month, 'YYYY-MM'), load_id, row_count, sha256
from raw.loads
order by dataset, source_month, load_id desc
"""
ROLES_AS_COMMANDS = Path(__file__).with_name("roles.sql").read_text()

logger = logging.getLogger("prefect.backup")


def backup() -> Path:
    """Back up the warehouse, as of one moment; return the backup's folder.

    A run that replaces a month meanwhile waits for the end of the backup, as for any long query.

    Raises:
        PipelineError: the server is not this folder's own, no month is loaded, or the dump fails.
            Then there is no new backup, and nothing else has changed.
    """
    began = time.perf_counter()
    settings, admin = own_server()
    made_at = datetime.now(UTC)
    folder = local_server.BACKUPS / f"{made_at:%Y-%m-%dT%H-%M-%SZ}"
    partial = folder.with_name(f".{folder.name}.partial")
    with alone(admin), connect(admin) as connection, in_one_line("no backup was made"):
        for leftover in local_server.BACKUPS.glob(".*.partial"):  # of one that was killed
            shutil.rmtree(leftover)
        cursor = driver_of(connection).cursor()
        cursor.execute("set transaction isolation level repeatable read, read only")
        if value_of(cursor, "select to_regclass('raw.loads') is null"):
            raise PipelineError("no month has been loaded yet: `make run` loads one")
        has_archive = value_of(cursor, "select to_regclass('raw.archives') is not null")
        if has_archive and (archived := value_of(cursor, "select count(*) from raw.archives")):
            logger.info("%s raw months are files in data/archive: keep those too", archived)
        cursor.execute("select pg_export_snapshot(), current_setting('server_version')")
        [(snapshot, version)] = cursor.fetchall()
        partial.mkdir(mode=0o700, parents=True)
        try:
            dump(admin, snapshot, partial / DUMP)
            write(partial / ROLES, roles_as_commands(cursor))
            manifest = {
                "made_at": made_at.isoformat(timespec="seconds"),
                "postgresql": version,
                "project": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
                    "version"
                ],
                "database": settings.db,
                "owner": settings.user,
                **content(cursor),
                "files": {name: sha256_of(partial / name) for name in files_of(partial)},
            }
            write(partial / MANIFEST, json.dumps(manifest, indent=1))
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    size = sum((folder / name).stat().st_size for name in files_of(folder))
    logger.info(
        "Backed up %s in %.0f s: %s, %.1f MB",
        *(months_in_words(manifest), time.perf_counter() - began, folder, size / 1e6),
    )
    return folder


def restore(folder: Path | None = None) -> Path:
    """Restore a backup into an empty warehouse; return the backup's folder.

    Args:
        folder: The backup; None: the newest.

    Raises:
        PipelineError: there is no such backup or a file of it has changed, the warehouse is not
            empty or the server not this folder's own, or what is restored is not what the manifest
            says. Then the warehouse is as it was.
    """
    began = time.perf_counter()
    folder = folder or local_server.newest_backup()
    if folder is None:
        raise PipelineError(
            f"there is no backup in {local_server.BACKUPS}: `make backup` makes one"
        )
    manifest = read_manifest(folder)
    settings, admin = own_server()
    if settings.user != manifest["owner"]:
        raise PipelineError(
            f"{folder} is of a warehouse of {manifest['owner']}, and POSTGRES_USER is "
            f"{settings.user}: set it to {manifest['owner']}"
        )
    server = admin.set(database="postgres")
    name = f"restoring_{settings.db}".encode()[:63].decode(errors="ignore")
    names = {"name": Identifier(settings.db), "restored": Identifier(name)}
    beside = admin.set(database=name)
    with alone(server), in_one_line("nothing was restored"):
        refuse_what_is_there(admin)
        drop = SQL("drop database if exists {restored} with (force)").format(**names)
        outside_transaction(server, drop)  # of a restore that was killed
        local_server.prepare(embedded.DATA_DIR, settings.model_copy(update={"db": name}))
        try:
            options = ["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"]
            run(beside, "psql", *options, f"--set=database={name}", f"--file={folder / ROLES}")
            options = [f"--dbname={name}", f"--jobs={JOBS}", "--exit-on-error"]
            run(beside, "pg_restore", *options, folder / DUMP)
            with connect(beside) as connection:
                refuse_differences(manifest, content(driver_of(connection).cursor()))
            refuse_what_is_there(admin)  # a run may have begun since
            outside_transaction(
                server,
                SQL("drop database {name} with (force)").format(**names),
                SQL("alter database {restored} rename to {name}").format(**names),
            )
        except BaseException:
            outside_transaction(server, drop)
            raise
    logger.info(
        "Restored %s in %.0f s from %s, equal to the backup by counts and hashes",
        *(months_in_words(manifest), time.perf_counter() - began, folder),
    )
    return folder


def own_server() -> tuple[Settings, URL]:
    """The settings of the embedded server, which is started if need be, and its superuser's URL.

    Raises:
        PipelineError: the settings name another server.
    """
    settings = read_settings()
    if settings.block is None:
        settings = local_server.ensure_server(settings)
        admin = local_server.administrator(settings.url)
        if admin != settings.url:
            return settings, admin
    where = f"POSTGRES_BLOCK={settings.block}" if settings.block else address(settings.url)
    raise PipelineError(
        f"{where} is not the embedded server of this folder: docs/backup.md says how to back up "
        "and restore others"
    )


@contextmanager
def alone(admin: URL) -> Iterator[None]:
    """Hold the turn of backups and restores of a database.

    Raises:
        PipelineError: another one is at work.
    """
    with connect(admin) as connection:
        taken = "select pg_try_advisory_lock(hashtext(%s))"
        if not connection.exec_driver_sql(taken, (IN_WORK,)).scalar():
            raise PipelineError(f"another backup or restore of {admin.database} is at work")
        connection.commit()  # else its snapshot would be an old one, which swaps of months wait for
        yield


def dump(admin: URL, snapshot: str, folder: Path) -> None:
    """Dump a database as an open transaction sees it.

    It is all of the database: a dump of some schemas would leave out what people have built there.
    """
    options = ["--format=directory", "--statistics", f"--compress={COMPRESSION}"]
    options += [f"--jobs={JOBS}", f"--snapshot={snapshot}", f"--file={folder}"]
    run(admin, "pg_dump", *options, disk=folder.parent)


def run(admin: URL, program: str, *arguments: str | Path, disk: Path | None = None) -> None:
    """Run one of PostgreSQL's programs on a database, as the superuser and as whoever we are."""
    environment = libpq_of(admin) | {"PGAPPNAME": program}
    embedded.run_program(
        program, *arguments, environment=environment, disk=disk or embedded.DATA_DIR
    )


def content(cursor: Cursor) -> dict[str, Any]:
    """What a database holds: by the audit, and by the rows of all its tables, month by month.

    Args:
        cursor: Of a transaction, as which it is seen.
    """
    migration = value_of(cursor, "select max(name) from raw.migrations")
    cursor.execute(AUDIT)
    names = ("dataset", "month", "load_id", "rows", "sha256")
    months = [dict(zip(names, row, strict=True)) for row in cursor]
    cursor.execute(TABLES)
    tables = {}
    for table, keys in cursor.fetchall():
        key = ", ".join(keys)
        by = (SQL(f"{key}, "), SQL(table), SQL(f"group by {key} order by {key}"))
        cursor.execute(SQL(CONTENT).format(*(by if keys else (SQL(""), SQL(table), SQL("")))))
        tables[table] = [
            {
                **{name: str(value) for name, value in zip(keys, row[:-2], strict=True)},
                "rows": row[-2],
                "hash": row[-1],
            }
            for row in cursor
        ]
    return {"migration": migration, "months": months, "tables": tables}


def refuse_differences(manifest: dict[str, Any], restored: dict[str, Any]) -> None:
    """Raise a `PipelineError` if a restored database is not what the manifest says."""
    if restored["migration"] != manifest["migration"] or restored["months"] != manifest["months"]:
        raise PipelineError("the restored audit, raw.loads, is not the one that was backed up")
    for table in manifest["tables"].keys() | restored["tables"].keys():
        before, now = (
            {frozenset(part.items()) for part in held["tables"].get(table, [])}
            for held in (manifest, restored)
        )
        if before != now:
            one = dict(min(before ^ now, key=sorted))
            where = " ".join(
                [table, *(one[key] for key in ("dataset", "source_month") if key in one)]
            )
            raise PipelineError(f"{where} is not restored as it was backed up: its rows differ")


def refuse_what_is_there(admin: URL) -> None:
    """Raise a `PipelineError` if a database has tables, and name its months if it has any."""
    with connect(admin) as connection, driver_of(connection).cursor() as cursor:
        cursor.execute(TABLES)
        tables = [table for table, _ in cursor]
        months = 0
        if "raw.loads" in tables:
            counted = "select count(distinct (dataset, source_month)) from raw.loads"
            months = value_of(cursor, counted)
    if tables:
        held = f"{months} month{'s' * (months != 1)}"
        what = held if months else f"{len(tables)} tables, such as {tables[0]},"
        raise PipelineError(
            f"the database {admin.database} has {what} already, and a backup is restored into an "
            "empty one: `make delete-data` deletes them"
        )


def read_manifest(folder: Path) -> dict[str, Any]:
    """A backup's manifest, once each of the backup's files is what it says.

    Raises:
        PipelineError: one is missing or has changed.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        files = manifest["files"]
    except (OSError, ValueError, KeyError) as error:
        raise PipelineError(
            f"{folder} is not a backup: its {MANIFEST} can't be read ({first_line(error)})"
        ) from None
    for name, sha256 in files.items():
        try:
            found = sha256_of(folder / name)
        except OSError as error:
            raise PipelineError(
                f"{folder / name} can't be read ({error.strerror}): the backup is not complete. "
                "Take another one"
            ) from None
        if found != sha256:
            raise PipelineError(
                f"{folder / name} has changed since the backup was made. Take another one"
            )
    return manifest


def roles_as_commands(cursor: Cursor) -> str:
    """The roles that a database knows, as a file for psql, which needs the variable `database`."""
    cursor.execute(ROLES_AS_COMMANDS)
    quietly = "set local log_min_error_statement = 'panic';\nset local log_statement = 'none';\n"
    return quietly + "".join(f"{command}\n" for (command,) in cursor)


def outside_transaction(server: URL, *statements: Any) -> None:
    """Execute statements that PostgreSQL executes in no transaction."""
    with connect(server) as connection:
        driver = driver_of(connection)
        driver.rollback()
        driver.autocommit = True
        with driver.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def write(path: Path, text: str) -> None:
    """Write a file that outlives a power cut, and that nobody but its owner can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def files_of(folder: Path) -> list[str]:
    """The files of a backup, as paths from its folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def sha256_of(path: Path) -> str:
    """A file's hash."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def months_in_words(manifest: dict[str, Any]) -> str:
    """How many months a backup has, and rows in their files."""
    months = manifest["months"]
    rows = sum(month["rows"] for month in months)
    return f"{len(months)} month{'s' * (len(months) != 1)} of {rows:,} rows"


def run_backup() -> None:
    """Back up the embedded warehouse to data/backups, as of one moment."""
    announce()
    backup()


def run_restore(folder: Path | None = None, /) -> None:
    """Restore a backup into an empty warehouse, and compare every row with what was backed up.

    Args:
        folder: The backup. Default: the newest one in data/backups.
    """
    announce()
    restore(folder.absolute() if folder else None)


def announce() -> None:
    """Have the terminal show how it goes, and an interrupt say what it leaves."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    interrupt.end_on_signals(INTERRUPTED)
