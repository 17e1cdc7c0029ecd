"""First contact: a source that can't be there is refused before anything is started for it."""

import socket
from collections.abc import Sequence
from glob import has_magic
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from flows.errors import PipelineError, is_url, without_secrets

PATIENCE = 5.0  # seconds, for each address of a host
PORTS = {"http": 80, "https": 443}


def refuse_absent(places: Sequence[str], is_open_ended: bool) -> None:
    """Refuse files if none of them is there, or if no host that may have one answers.

    That takes a moment, where a run takes many seconds to start. Hosts are connected to, and asked
    nothing.

    Args:
        places: Their URLs or absolute paths.
        is_open_ended: Whether the files are meant that there are, and none may be there yet.

    Raises:
        PipelineError: what is wrong with the first of them.
    """
    paths = [place for place in places if not is_url(place)]
    if paths and not is_open_ended and not any(map(may_be_there, paths)):
        raise PipelineError(
            f"{paths[0][:200]}: No such file or directory. Give an http(s) URL or a file's path"
        )
    refusals = []
    for address, url in {address_of(place): place for place in reversed(places)}.items():
        try:
            if address:
                socket.create_connection(address, PATIENCE).close()
            return
        except (OSError, UnicodeError) as error:
            refusals.append(
                f"{without_secrets(url)[:200]}: {error}. Check the URL and the network, "
                "or download the file yourself and give its path"
            )
    if refusals:
        raise PipelineError(refusals[-1])


def may_be_there(path: str) -> bool:
    """Whether there is a file, a folder, or a pattern of either."""
    try:
        return has_magic(path) or Path(path).exists()
    except OSError:
        return True  # whoever reads it says what is wrong


def address_of(place: str) -> tuple[str, int] | None:
    """The host and port of a URL that is connected to directly; None where there is none such."""
    try:
        url = urlsplit(place)
        scheme, host, port = url.scheme.lower(), url.hostname, url.port
    except ValueError:  # whoever reads it says what is wrong
        return None
    proxies = getproxies()
    is_direct = not {scheme, "all"} & set(proxies) or (host and proxy_bypass(host))
    return (host, port or PORTS[scheme]) if host and scheme in PORTS and is_direct else None
