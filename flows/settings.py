"""The settings: where the warehouse is, and who we are there."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL

from flows.errors import PipelineError

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = ROOT / ".env"


class Settings(BaseSettings):
    """Where PostgreSQL is and who we are there, from POSTGRES_* in the environment or `.env`.

    `docker-compose.yml` and `dbt_project/profiles.yml` read the same variables, with the same
    defaults.
    """

    model_config = SettingsConfigDict(
        env_prefix="POSTGRES_", env_file=ENV_FILE, env_ignore_empty=True, extra="ignore"
    )

    host: str = "localhost"
    port: int = Field(5432, ge=1, le=65_535)
    user: str = "root"
    password: SecretStr = SecretStr("root")
    db: str = "ny_taxi"
    analyst_password: SecretStr = SecretStr("analyst")
    alert_block: str | None = Field(None, validation_alias="ALERT_BLOCK")
    source_base_url: str = Field("", validation_alias="SOURCE_BASE_URL")  # a mirror of TLC's files

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


def read_settings() -> Settings:
    """Read the settings.

    Raises:
        PipelineError: a variable has a value that it can't have.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"POSTGRES_{first['loc'][0]}".upper()
        raise PipelineError(
            f"{name} is {first['input']!r}: {first['msg']}. Correct it in {ENV_FILE} "
            "or in the environment"
        ) from None
