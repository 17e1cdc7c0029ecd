"""The role `analyst`: who is a member of it reads the marts and the dictionary.

    taxi analyst anna

makes a login for one person. A login that people share would let each of them change its password
and its settings for all: PostgreSQL allows that to every role. The role itself does not log in.

What it may read are dbt's grants (`grants:` in dbt_project.yml), which are given again here to a
role that was made after the build, or by a restore. They go to a role that is marked as the
project's own by its comment; a role of that name without the mark is left alone.
"""

import logging
import re
import secrets
from dataclasses import dataclass

from psycopg2.errors import InsufficientPrivilege, RaiseException
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import encrypt_password
from psycopg2.sql import SQL, Identifier, Literal
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from flows.errors import PipelineError, UsageError, first_line, shorten
from flows.parameters import PLAIN_NAME
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

STATEMENT_TIMEOUT = "10min"
# What a login has, as often as one asks for it. Its settings are of this database alone.
OF_A_LOGIN = (
    # Without `set role` nobody can change the settings of the common role.
    "grant {group} to {login} with inherit true, set false",
    "grant temporary on database {database} to {login}",
    # Its owner is the warehouse's, who may drop what is in the way there.
    "create schema if not exists {login} authorization {owner}",
    "comment on schema {login} is {mark}",
    "grant all on schema {login} to {login} with grant option",
    'alter role {login} in database {database} set search_path = "$user", public',
    "alter role {login} in database {database} set statement_timeout = {timeout}",
)
FOREIGN_SCHEMA = """
select true from pg_namespace
where nspname = %s and obj_description(oid, 'pg_namespace') is distinct from %s
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


@dataclass(frozen=True)
class Login:
    """A person's login to the marts."""

    user: str
    password: str | None  # None: the one that it had before
    log_in: str  # a command

    def __str__(self) -> str:
        """How to use it."""
        renew = f"taxi analyst {self.user} --new-password"
        password = (
            f"{self.password}   (kept nowhere; `{renew}` makes another)"
            if self.password
            else f"as it was   (`{renew}` makes another)"
        )
        return (
            f"Log in:    {self.log_in}\n"
            f"Password:  {password}\n"
            "Look:      \\dtv+ public.* in psql lists the tables, \\d+ trips the columns of one\n"
            f"Keep:      create table … as select … goes to the schema {self.user}, and temporary\n"
            f"           tables work. A statement ends after {STATEMENT_TIMEOUT}, unless the\n"
            "           session says otherwise: set statement_timeout = '1h'"
        )


def analyst(name: str, /, *, new_password: bool = False) -> Login:
    """Make a login for one person, who reads the tables and has a schema of their own.

    Args:
        name: The login's name, such as anna.
        new_password: Give a login that is there already another password.

    Raises:
        UsageError: the name needs quotes in SQL, or is taken by a schema of this project's.
        PipelineError: a role of that name is not ours, or we may not make roles.
    """
    password = add_login(name, new_password)
    return Login(name, password, psql_command(current_url().set(username=name)))


def check_name(name: str) -> None:
    """Raise a `UsageError` if a login can't have this name, or only in quotes."""
    taken = {*schema.SCHEMAS, "public", *RESERVED_WORDS}
    if not re.fullmatch(PLAIN_NAME, name) or name in taken:
        raise UsageError(
            f"{shorten(name)!r} can't be the name of a login: use up to 55 lower-case letters, "
            "digits and underscores, not an SQL keyword or a schema of this project's"
        )


def add_login(name: str, new_password: bool = False) -> str | None:
    """Make a person's login to the marts, or give it what it lacks; return its new password.

    None, if it has one already. PostgreSQL gets, and logs, only the password's verifier.

    Raises:
        UsageError: the name needs quotes in SQL, or is taken by a schema of this project's.
        PipelineError: a role of that name is not ours, or we may not make roles.
    """
    check_name(name)
    url = current_url()
    with connect(administrator(url)) as connection:
        ensure_analyst(connection)
        driver = driver_of(connection)
        statements = [
            SQL(statement).format(
                login=Identifier(name),
                group=Identifier(ANALYST),
                database=Identifier(url.database or ""),
                owner=Identifier(url.username or ""),
                mark=Literal(LOGIN_MARK),
                timeout=Literal(STATEMENT_TIMEOUT),
            )
            for statement in OF_A_LOGIN
        ]
        make = SQL("create role {} login").format(Identifier(name))
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
                cursor.execute(FOREIGN_SCHEMA, [name, LOGIN_MARK])
                if cursor.fetchone():
                    raise PipelineError(f"a schema {name} exists already: take another name")
                if mark is None:
                    cursor.execute(make)
                    set_mark(cursor, name, LOGIN_MARK)
                if is_new := mark is None or new_password:
                    password = secrets.token_urlsafe(18)
                    verifier = encrypt_password(password, name, driver, "scram-sha-256")
                    cursor.execute(
                        SQL("alter role {} password {}").format(Identifier(name), Literal(verifier))
                    )
                for statement in statements:
                    cursor.execute(statement)
        except InsufficientPrivilege as error:
            commands = [
                f"create role {ANALYST} nologin",
                f"comment on role {ANALYST} is '{MARK}'",
                *(one.as_string(driver) for one in (make, *statements)),
            ]
            shown = "".join(f"\n{command};" for command in commands)
            raise PipelineError(
                f"{first_line(error)}. Let an administrator run, in psql:{shown}\n\\password {name}"
            ) from None
    return password if is_new else None
