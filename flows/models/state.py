"""What dbt's project makes of the warehouse."""

import yaml

from flows.parameters import TABLE_NAME
from flows.settings import PROJECT


def relations(table_name: str) -> list[str]:
    """The tables and views that dbt makes, each as `schema.name`."""
    project = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())
    models, seeds = project["models"]["nyc_taxi"], project["seeds"]["nyc_taxi"]
    found = [f"{seeds['+schema']}.{path.stem}" for path in PROJECT.glob("seeds/*.csv")]
    for path in PROJECT.glob("models/*/**/*.sql"):
        folder = path.relative_to(PROJECT / "models").parts[0]
        name = table_name if path.stem == TABLE_NAME else path.stem
        found.append(f"{models[folder]['+schema']}.{name}")
    return found
