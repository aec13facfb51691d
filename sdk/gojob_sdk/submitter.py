"""How handlers submit tasks: over HTTP, to the gateways that their worker connects to.

What is submitted proves which run it comes from, and has that run's task as its parent.
"""

from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import urlsplit, urlunsplit

from gojob_sdk.client import Client, Options, Task
from gojob_sdk.errors import BadConfig
from gojob_sdk.protocol import PATH, RunRef, run_proof

if TYPE_CHECKING:
    from gojob_sdk.config import WorkerSettings

_SCHEMES = {"ws": "http", "wss": "https"}


class Submitter:
    """Submits for the runs of one worker; any thread may use it."""

    def __init__(self, settings: "WorkerSettings") -> None:
        self.app = settings.app
        self._settings = settings
        self._client: Client | None = None

    def submit(self, run: RunRef, app: str, handler: str, params: Any, **options: Unpack[Options]) -> Task:
        """Ask for one run of a handler. Raises ClientError when it is refused, BadConfig without a token."""
        return self._connected().submit(app, handler, params, proof=run_proof(run), **options)

    def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            self._client.close()

    def _connected(self) -> Client:
        if self._client is None:  # two threads may make one each: the other is forgotten
            settings, token = self._settings, self._settings.api_token.get_secret_value()
            if not token:
                raise BadConfig(
                    "ctx.submit needs a token of kind api, because that of the worker opens its socket only; "
                    "set GOJOB_TOKEN, or api_token of the worker"
                )
            urls = ",".join(map(http_url, settings.socket_urls))
            self._client = Client(urls, token, namespace=settings.namespace)
        return self._client


def http_url(socket_url: str) -> str:
    """Where the HTTP API of a worker socket's gateway is."""
    parts = urlsplit(socket_url)
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, parts.path.removesuffix(PATH), "", ""))
