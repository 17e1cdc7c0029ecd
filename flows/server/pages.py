"""Prefect's server, and beside its pages the report, for whoever has their credential.

python -m flows.server.pages
"""

import hmac
from base64 import b64encode

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from flows.report import PAGE, PATH

HEADERS = {
    "Cache-Control": "no-store",
    # Its scripts are none of Prefect's origin: what the pages keep in the browser, such as the
    # credential, is out of their reach.
    "Content-Security-Policy": "sandbox allow-scripts allow-downloads allow-popups",
    "X-Content-Type-Options": "nosniff",
}


def serve() -> None:
    """Run Prefect's server, as `prefect server start` does, until it is stopped."""
    server = get_current_settings().server
    app = create_app(final=True)
    app.router.routes.insert(0, Route(PATH, report))  # before Prefect's pages, which take any path
    uvicorn.run(
        app,
        host=server.api.host,
        port=server.api.port,
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
        log_level=server.logging_level.lower(),
    )


def report(request: Request) -> Response:
    """The page that this machine's last run has drawn; a browser asks for the credential."""
    credential = get_current_settings().server.api.auth_string
    if credential is not None:
        expected = b64encode(credential.get_secret_value().encode())
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic" or not hmac.compare_digest(given.strip().encode(), expected):
            challenge = {"WWW-Authenticate": 'Basic realm="Prefect", charset="UTF-8"'}
            return PlainTextResponse("The credential of Prefect's pages is needed", 401, challenge)
    try:
        return HTMLResponse(PAGE.read_bytes(), headers=HEADERS)
    except FileNotFoundError:
        return PlainTextResponse("No run has drawn a report on this machine yet", 404)


if __name__ == "__main__":
    serve()
