# The project with its locked packages; docker-compose.yml runs Prefect's server and a worker from it.
FROM python:3.11.14-slim-bookworm

RUN useradd --create-home taxi \
    && install --directory --owner taxi /app/data /home/taxi/.prefect
WORKDIR /app

COPY requirements.lock .
RUN pip install --no-cache-dir "$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)" \
    && uv pip sync --system --no-cache --require-hashes --compile-bytecode requirements.lock

COPY pyproject.toml ./
COPY flows flows
# dbt writes its log beside the project.
COPY --chown=taxi dbt_project dbt_project

USER taxi
# Prefect's credential, as the service `secrets` of docker-compose.yml has made it.
ENTRYPOINT ["sh", "-c", "set -a; [ ! -e /secrets/prefect.env ] || . /secrets/prefect.env; exec \"$@\"", "sh"]
