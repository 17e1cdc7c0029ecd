"""Make the README's pictures: a run of the sample in a terminal, and the report that it draws.

    python tools/pictures.py

Runs `make run` in an empty data folder, on a server of its own, and takes the report's picture with
Chromium (or what CHROMIUM names). The pictures are in docs/pictures.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1280, 1400  # of the report's picture, in pixels
COLUMNS = 110  # of the terminal


def run_the_sample(data: Path) -> str:
    """Run it from nothing; returns what a terminal shows."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {"TAXI_DATA": str(data), "POSTGRES_PORT": port}

    def make(*words: str) -> str:
        command = ["make", "--no-print-directory", *words]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        return done.stderr + done.stdout

    try:
        said = make("run")
    finally:
        make("delete-data", "YES=1")
    plain = said.replace(str(data), "data").replace(f"{ROOT}/", "").replace(f"-p {port}", "-p 5432")
    return re.sub(r"^.*PostgreSQL.*\n", "", plain, flags=re.MULTILINE)


def draw_terminal(said: str, path: Path) -> None:
    """A picture of a terminal, which loads no font from anywhere."""
    console = Console(record=True, width=COLUMNS, file=StringIO())
    console.print(Text("$ make run", style="bold"))
    console.print(Text(said.strip("\n")))
    drawn = console.export_svg(title="New York's taxi trips", theme=DIMMED_MONOKAI)
    path.write_text(re.sub(r"@font-face \{.*?\}\n", "", drawn, flags=re.DOTALL))


def photograph(page: Path, path: Path) -> None:
    """The first screen of the report."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    if not chromium:
        sys.exit("error: no Chromium is found: name it in CHROMIUM")
    options = [f"--window-size={WIDTH},{HEIGHT}", "--hide-scrollbars", "--virtual-time-budget=8000"]
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    subprocess.run(
        [chromium, "--headless", *sandbox, *options, f"--screenshot={path}", page.as_uri()],
        check=True,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="taxi-pictures-") as folder:
        data = Path(folder) / "data"
        draw_terminal(run_the_sample(data), PICTURES / "run.svg")
        photograph(data / "report.html", PICTURES / "report.png")
