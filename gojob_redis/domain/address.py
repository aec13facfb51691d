"""Addresses: ``namespace/app`` names an app, ``namespace/app/handler`` a handler.

The functions take a text apart where only one part of it is wanted: on the hot path a value would cost more than that.
"""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a handler, by its parts."""

    namespace: str
    app_name: str
    handler: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``namespace/app/handler``; raises ValueError for what is none."""
        namespace, app_name, handler = text.split("/")
        return cls(namespace, app_name, handler)

    @property
    def app(self) -> str:
        """``namespace/app``."""
        return f"{self.namespace}/{self.app_name}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.app_name}/{self.handler}"


def namespace_of(address: str) -> str:
    """The namespace of an app or a handler; a namespace is its own."""
    return address.partition("/")[0]


def app_of(handler: str) -> str:
    """``namespace/app`` of a handler."""
    return handler.rpartition("/")[0]


def name_of(address: str) -> str:
    """What an app or a handler is called within its namespace or app."""
    return address.rpartition("/")[2]
