"""The settings: where the warehouse is, and who we are there."""

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from dotenv import set_key, unset_key
from sqlalchemy import URL

from flows.environment import ENV_FILE, ROOT
from flows.errors import PipelineError

__all__ = ["ENV_FILE", "ROOT", "Settings", "change_setting", "read_settings"]


class Settings(BaseSettings):
    """Where PostgreSQL is and who we are there, from POSTGRES_* in the environment or `.env`.

    `docker-compose.yml` and `dbt_project/profiles.yml` read the same variables, with the same
    defaults.
    """

    model_config = SettingsConfigDict(
        env_prefix="POSTGRES_", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True
    )

    host: str = "localhost"
    port: int = Field(5432, ge=1, le=65_535)
    user: str = "root"
    password: SecretStr = SecretStr("root")
    db: str = "ny_taxi"
    block: str | None = None  # the Prefect block that decides in place of these
    alert_block: str | None = Field(None, validation_alias="ALERT_BLOCK")

    @property
    def url(self) -> URL:
        """The same for SQLAlchemy; `str()` of it hides the password."""
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
        return Settings(_env_file=ENV_FILE)
    except ValidationError as error:
        first = error.errors()[0]
        name = f"POSTGRES_{first['loc'][0]}".upper()
        raise PipelineError(
            f"{name} is {first['input']!r}: {first['msg']}. Correct it in {ENV_FILE} "
            "or in the environment"
        ) from None
    except (OSError, ValueError) as error:
        raise PipelineError(f"{ENV_FILE} can't be read: {error}") from None


def change_setting(name: str, value: str | None) -> None:
    """Write a setting into `.env`, or take it out; the file's other lines stay as they are.

    The file holds passwords: it is for its owner only. If it is a link, it stays one.
    """
    if ENV_FILE.exists():
        ENV_FILE.chmod(0o600)
        if value is None:
            unset_key(ENV_FILE, name, follow_symlinks=True)
    if value is not None:
        set_key(ENV_FILE, name, value, quote_mode="never", follow_symlinks=True)
