"""The part of the HTTP API that the SDK's client leaves to its users: triggers, shards, workers."""

import time
from typing import Any

import httpx2

APP = "/v1/apps/default/demo"
GIVE_UP_S = 15.0
PAUSE_S = 0.1
PAGE = 500


class RefusedByApi(Exception):
    """The API refused a request, or nobody answered it."""


class Api:
    """Asks one gateway after the other until one answers; every request here is safe to repeat."""

    def __init__(self, urls: list[str], token: str) -> None:
        self._urls = urls
        self._http = httpx2.Client(headers={"Authorization": f"Bearer {token}"}, timeout=5.0)

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of the answer. Raises RefusedByApi, also when nobody answered for 15 s."""
        end = time.monotonic() + GIVE_UP_S
        while True:
            try:
                answer = self._http.request(method, self._urls[0] + path, **options)
                if answer.status_code < 500:
                    return _content(answer)
                trouble = f"{answer.status_code} {answer.text}"
            except httpx2.HTTPError as error:
                trouble = f"{type(error).__name__} {error}"
            self._urls.append(self._urls.pop(0))
            if time.monotonic() > end:
                raise RefusedByApi(f"{method} {path}: {trouble}")
            time.sleep(PAUSE_S)

    def workers(self) -> list[str]:
        """Names of the connected workers."""
        return sorted(
            worker["name"]
            for worker in self.request("GET", "/v1/workers", params={"app": APP.rpartition("/")[2]})["items"]
        )

    def put_trigger(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        trigger: dict[str, Any] = self.request("PUT", f"{APP}/triggers/{name}", json=body)
        return trigger

    def pause_trigger(self, name: str) -> None:
        self.request("POST", f"{APP}/triggers/{name}/pause")

    def fired(self, name: str) -> list[int]:
        """The slots (ms) that the trigger's ledger calls fired."""
        slots: list[int] = []
        cursor: str | None = ""
        while cursor is not None:
            page = self.request("GET", f"{APP}/triggers/{name}/slots", params={"cursor": cursor, "limit": PAGE})
            slots += [entry["slot_ms"] for entry in page["items"] if entry["word"] == "fired"]
            cursor = page["next"]
        return slots

    def results(self, task: str) -> list[Any]:
        """What each shard of a task returned."""
        return [run["result"] for run in self.request("GET", f"/v1/tasks/{task}/runs", params={"limit": PAGE})["items"]]


def _content(answer: httpx2.Response) -> Any:
    if answer.status_code >= 400:
        raise RefusedByApi(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}")
    return answer.json() if answer.content else None
