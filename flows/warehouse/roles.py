"""The role `analyst`: who is a member of it reads the marts and the dictionary, and nothing else.

    python -m flows.warehouse.roles anna

makes a login for one person. A login that people share would let each of them change its password
and its settings for all: PostgreSQL allows that to every role. The role itself does not log in.

What it may read are dbt's grants (`grants:` in dbt_project.yml), which are given again here to a
role that was made after the build, or by a restore. They go to a role that is marked as the
project's own by its comment; a role of that name without the mark is left alone.
"""

import logging
import secrets
import sys

from psycopg2.errors import InsufficientPrivilege, RaiseException
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import encrypt_password
from psycopg2.sql import SQL, Identifier, Literal
from sqlalchemy import Connection

from flows.errors import PipelineError, first_line
from flows.warehouse import schema
from flows.warehouse.connection import connect, current_url, driver_of, psql_command
from flows.warehouse.local_server import administrator

ANALYST = "analyst"
MARK = "nyc-taxi-elt: reads the marts"
LOGIN_MARK = "nyc-taxi-elt: a login of someone who reads the marts"

# What the role lacks: to read and to call what this project has made in public, and to see that it
# may not read the rest. Tools ask has_table_privilege('raw.loads', 'select'), which is an error,
# and not false, for whoever may not use the schema.
MISSING_GRANTS = """
select format('grant usage on schema %%I to %%I', nspname, %(role)s)
from pg_namespace
where
    nspname = any(%(schemas)s)
    and pg_has_role(nspowner, 'usage')
    and not has_schema_privilege(%(role)s, oid, 'usage')
union all
select format('grant select on %%s to %%I', oid::regclass, %(role)s)
from pg_class
where
    relnamespace = 'public'::regnamespace
    and relkind in ('r', 'p', 'v')
    and pg_has_role(relowner, 'usage')
    and obj_description(oid, 'pg_class') like '%%' || %(mark)s
    and not has_table_privilege(%(role)s, oid, 'select')
union all
select format('grant execute on function %%s to %%I', oid::regprocedure, %(role)s)
from pg_proc
where
    pronamespace = 'public'::regnamespace
    and pg_has_role(proowner, 'usage')
    and obj_description(oid, 'pg_proc') like '%%' || %(mark)s
    and not has_function_privilege(%(role)s, oid, 'execute')
"""

logger = logging.getLogger("prefect.analyst")


def ensure_analyst(connection: Connection) -> None:
    """Make the role `analyst` where there is none and we may, and give it what it lacks.

    A role that is not ours stays as it is.

    Without it the project works as well: then the marts are their owner's alone.
    """
    driver = driver_of(connection)
    try:
        with driver, driver.cursor() as cursor:
            mark = mark_of(cursor, ANALYST)
            if mark is None:
                cursor.execute(SQL("create role {} nologin").format(Identifier(ANALYST)))
                set_mark(cursor, ANALYST, MARK)
            elif mark != MARK:
                logger.info("The role %s is not this project's: it gets no rights", ANALYST)
                return
            cursor.execute(
                MISSING_GRANTS,
                {"role": ANALYST, "schemas": list(schema.SCHEMAS), "mark": schema.MARK},
            )
            for (grant,) in cursor.fetchall():
                cursor.execute(grant)
    except (InsufficientPrivilege, RaiseException) as error:  # by an event trigger, too
        logger.info("No role %s, so only the owner reads the marts: %s", ANALYST, first_line(error))


def mark_of(cursor: Cursor, role: str) -> str | None:
    """A role's comment, "" where it has none; None where there is no such role."""
    cursor.execute(
        "select coalesce(shobj_description(oid, 'pg_authid'), '') from pg_roles where rolname = %s",
        [role],
    )
    row = cursor.fetchone()
    return row[0] if row else None


def set_mark(cursor: Cursor, role: str, mark: str) -> None:
    """Comment a role as this project's own."""
    cursor.execute(SQL("comment on role {} is {}").format(Identifier(role), Literal(mark)))


def add_login(name: str) -> str:
    """Make a person's login to the marts, or give it a new password; return the password.

    PostgreSQL gets, and logs, only the password's verifier.

    Raises:
        PipelineError: a role of that name is not ours, or we may not make roles.
    """
    url = current_url()
    password = secrets.token_urlsafe(18)
    login, group = Identifier(name), Identifier(ANALYST)
    with connect(administrator(url)) as connection:
        ensure_analyst(connection)
        driver = driver_of(connection)
        try:
            with driver, driver.cursor() as cursor:
                if mark_of(cursor, ANALYST) not in (MARK, None):
                    raise PipelineError(
                        f"the role {ANALYST} is not this project's. If it is to read the marts, "
                        f"run: comment on role {ANALYST} is '{MARK}'"
                    )
                mark = mark_of(cursor, name)
                if mark not in (LOGIN_MARK, None):
                    raise PipelineError(f"a role {name} exists already: take another name")
                if mark is None:
                    cursor.execute(SQL("create role {} login").format(login))
                    set_mark(cursor, name, LOGIN_MARK)
                verifier = encrypt_password(password, name, driver, "scram-sha-256")
                cursor.execute(SQL("alter role {} password {}").format(login, Literal(verifier)))
                # Without `set role` nobody can change the settings of the common role.
                cursor.execute(
                    SQL("grant {} to {} with inherit true, set false").format(group, login)
                )
        except InsufficientPrivilege as error:
            statements = (
                f"create role {ANALYST} nologin",
                f"comment on role {ANALYST} is '{MARK}'",
                SQL("create role {} login").format(login).as_string(driver),
                SQL("grant {} to {} with inherit true, set false")
                .format(group, login)
                .as_string(driver),
                SQL(r"\password {}").format(login).as_string(driver),
            )
            raise PipelineError(
                f"{first_line(error)}. Let an administrator run, in psql: {'; '.join(statements)}"
            ) from None
    return password


def main() -> None:
    """Make a login, and say how to use it."""
    if len(sys.argv) != 2 or not sys.argv[1]:
        sys.exit("usage: make analyst NAME=anna")
    [_, name] = sys.argv
    password, url = add_login(name), current_url()
    print(
        f"Log in:    {psql_command(url.set(username=name))}\n"
        f"Password:  {password}   (kept nowhere; `make analyst NAME={name}` makes another)"
    )


if __name__ == "__main__":
    try:
        main()
    except PipelineError as error:
        sys.exit(f"error: {error}")
