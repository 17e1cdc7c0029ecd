"""What every Python program of this project's environment begins with.

A `.pth` file of `.venv` (the Makefile writes it; `installed.pth` is what pipx and uv install)
imports this module at the start of each program: the flows, dbt, prefect, pytest. Elsewhere
`flows.settings` imports it. So it imports little.
dbt and Prefect read a `.env` themselves, from the folder that they are started in; nothing but the
environment gives dbt alone the sessions below, and Prefect a home of this folder's.

- The settings in `.env` are in the environment, for what the environment itself does not set.
- Prefect's home is this folder's, so that two clones share nothing.
- dbt finds the project's profile from whatever folder it is started in.
- A database session means the same wherever it is opened, whatever the server's defaults are.
- Python looks for garbage less often: Prefect and dbt make hundreds of thousands of objects that
  stay, and a fifth of the time of their import goes into looking through them.
"""

import gc
import json
import os
from contextlib import suppress
from pathlib import Path

from dotenv import dotenv_values

ROOT = Path(__file__).resolve().parent.parent
IS_INSTALLED = ROOT.parent.name.endswith("-packages")  # by pipx or uv, and not a clone
STATE = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser()
HOME = STATE / "nyc-taxi-elt" if IS_INSTALLED else ROOT  # of `.env` and of all that runs write
ENV_FILE = HOME / ".env"
FROM_ENV_FILE = "NYC_TAXI_FROM_ENV_FILE"

# The server, the database and the role have defaults for all of these, and each of them can change
# what a row means, or stop a build halfway.
SESSION = {
    "datestyle": "ISO, MDY",  # TLC's dates with slashes are month first
    "intervalstyle": "postgres",
    "timezone": "UTC",  # of the audit's times; trips have local times without a zone
    "lc_numeric": "C",
    "lc_time": "C",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "search_path": "public",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    # Not what a row means: queries of a month's rows are over before they would have been compiled.
    "jit": "off",
    # Not PostgreSQL's: it shows that these settings have arrived, and no pooler has dropped them.
    "nyc_taxi.session": "pinned",
}
SESSION_OPTIONS = " ".join(
    f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in SESSION.items()
)


def with_session(options: str | None) -> str:
    """Options of libpq (`PGOPTIONS`), followed by the project's own, which override them."""
    theirs = (options or "").removesuffix(SESSION_OPTIONS).strip()
    return f"{theirs} {SESSION_OPTIONS}".strip()


def load_settings() -> None:
    """Read `.env` into the environment, which comes first.

    A worker hands its environment on to runs that it starts hours later. What came from `.env` is
    remembered and read again by those, so that they see the file as it is now.
    """
    for name, value in json.loads(os.environ.pop(FROM_ENV_FILE, "{}")).items():
        if os.environ.get(name) == value:
            del os.environ[name]
    # Whoever has an API URL in the environment, and not in `.env`, has a Prefect of their own.
    has_own_prefect = "PREFECT_API_URL" in os.environ
    read = {}
    with suppress(OSError, ValueError):  # `read_settings` says what is wrong with the file
        values = dotenv_values(ENV_FILE)
        read = {name: value for name, value in values.items() if value and name not in os.environ}
    os.environ |= read
    if not has_own_prefect and "PREFECT_HOME" not in os.environ:
        home = data_folder() / "prefect"
        with suppress(OSError):  # a folder that can't be written to; Prefect says so
            home.mkdir(parents=True, exist_ok=True)
        os.environ["PREFECT_HOME"] = read["PREFECT_HOME"] = str(home)
    os.environ[FROM_ENV_FILE] = json.dumps(read)


def data_folder() -> Path:
    """Where all is that runs write: TAXI_DATA, as seen from `HOME`, or else its `data`."""
    return HOME / (os.environ.get("TAXI_DATA") or "data")


def pin_sessions() -> None:
    """Have libpq, below the flows, dbt and psql, open each session with the same settings."""
    for name in ("PGDATESTYLE", "PGTZ"):  # they would override PGOPTIONS
        os.environ.pop(name, None)
    os.environ["PGOPTIONS"] = with_session(os.environ.get("PGOPTIONS"))
    os.environ["PGCLIENTENCODING"] = "UTF8"


gc.set_threshold(10_000)  # Python's own is 700 new objects
load_settings()
pin_sessions()
os.environ.setdefault("DBT_PROFILES_DIR", str(ROOT / "dbt_project"))
