"""The models' documentation, made by dbt and shown in a browser until Ctrl-C."""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from flows import interrupt
from flows.settings import DATA, PROJECT

ADDRESS = ("127.0.0.1", 8081)
TARGET = DATA / "docs"
# What dbt's page selects at first. There is no setting for it.
WITHOUT_TESTS = ('"source","test","unit_test","analysis"', '"source","analysis"')


def show() -> None:
    """Make the documentation of the models, and show it in a browser until Ctrl-C."""
    interrupt.end_on_signals("stopped")
    from dbt.cli.main import dbtRunner  # not at the top: it takes seconds

    folders = ["--project-dir", PROJECT, "--profiles-dir", PROJECT, "--target-path", TARGET]
    folders += ["--log-path", TARGET]
    made = dbtRunner().invoke(["--quiet", "docs", "generate", *map(str, folders)])
    if not made.success:  # dbt has shown why
        sys.exit(1)
    hide_tests(TARGET / "index.html")
    pages = partial(SimpleHTTPRequestHandler, directory=TARGET)
    try:
        server = ThreadingHTTPServer(ADDRESS, pages)
    except OSError as error:
        sys.exit(f"error: port {ADDRESS[1]} can't be listened on: {error.strerror}")
    print(f"The documentation is at http://{ADDRESS[0]}:{ADDRESS[1]} until Ctrl-C")
    server.serve_forever()


def hide_tests(page: Path) -> None:
    """Have the lineage begin without the tests; its list *resources* has them."""
    content = page.read_text(encoding="utf-8")
    page.write_text(content.replace(*WITHOUT_TESTS), encoding="utf-8")
