"""The settings: where the warehouse is, and who we are there."""

from typing import TYPE_CHECKING

from dotenv import set_key
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from flows.environment import ENV_FILE, ROOT, data_folder
from flows.errors import PipelineError

if TYPE_CHECKING:
    from sqlalchemy import URL

__all__ = ["DATA", "ENV_FILE", "PROJECT", "ROOT", "Settings", "read_settings", "remember"]

PROJECT = ROOT / "dbt_project"
DATA = data_folder()  # all that runs write


class Settings(BaseSettings):
    """Where PostgreSQL is and who we are there, from POSTGRES_* in the environment or `.env`.

    `docker-compose.yml` and `dbt_project/profiles.yml` read the same variables, with the same
    defaults.
    """

    model_config = SettingsConfigDict(env_prefix="POSTGRES_", env_ignore_empty=True, extra="ignore")

    host: str = "localhost"
    port: int = Field(5432, ge=1, le=65_535)
    user: str = "root"
    password: SecretStr = SecretStr("root")
    db: str = "ny_taxi"
    block: str | None = None  # the Prefect block that decides in place of these
    # Of the role that owns the database of `make serve`'s Prefect, which makes both.
    prefect_password: SecretStr | None = None
    alert_block: str | None = Field(None, validation_alias="ALERT_BLOCK")
    source_base_url: str = Field("", validation_alias="SOURCE_BASE_URL")  # a mirror of TLC's files

    @property
    def url(self) -> "URL":
        """The same for SQLAlchemy; `str()` of it hides the password."""
        # Not at the top: the command line reads settings before anything that takes long to import.
        from sqlalchemy import URL

        return URL.create(
            "postgresql+psycopg2",
            self.user,
            self.password.get_secret_value(),
            self.host,
            self.port,
            self.db,
        )

    @property
    def names_a_server(self) -> bool:
        """Whether someone has said where the server is, or who we are there."""
        return not self.model_fields_set.isdisjoint({"host", "port", "user", "password"})


def read_settings() -> Settings:
    """Read the settings.

    Raises:
        PipelineError: a variable has a value that it can't have, or `.env` can't be read.
    """
    try:
        return Settings(_env_file=ENV_FILE)  # type: ignore[call-arg]  # pydantic's own
    except ValidationError as error:
        first = error.errors()[0]
        name = f"POSTGRES_{first['loc'][0]}".upper()
        raise PipelineError(
            f"{name} is {first['input']!r}: {first['msg']}. Correct it in {ENV_FILE} "
            "or in the environment"
        ) from None
    except (OSError, ValueError) as error:
        raise PipelineError(f"{ENV_FILE} can't be read: {error}") from None


def remember(**values: str) -> None:
    """Write settings into `.env`; its other lines stay, and if it is a link, it stays one.

    The file holds passwords: nobody but its owner can read it from then on.
    """
    ENV_FILE.parent.mkdir(parents=True, exist_ok=True)
    ENV_FILE.touch(mode=0o600)
    ENV_FILE.chmod(0o600)
    for name, value in values.items():
        set_key(ENV_FILE, name, value, quote_mode="never", follow_symlinks=True)
