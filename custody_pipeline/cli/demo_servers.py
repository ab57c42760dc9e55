"""The servers of a home that `custody demo` made, for as long as a command needs them.

Belongs here: finding out that a home is the demo's. Does not: the servers (simulator/demo.py).
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from custody_pipeline.cli.shared import say, settings_of_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from custody_pipeline.simulator.demo import DemoOrganization

_P = ParamSpec("_P")
_R = TypeVar("_R")


def with_servers_of_demo(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """A command that reads S3 or asks the vendor. In a home of the demo, the demo's servers run meanwhile."""

    @wraps(command)
    def run(*args: _P.args, **named: _P.kwargs) -> _R:
        with servers_of_demo():
            return command(*args, **named)

    return run


@contextmanager
def servers_of_demo() -> Iterator[None]:
    """In a home of the demo, run its servers, and point the environment at them; anywhere else do nothing."""
    if (demo := _demo_of_home()) is None:
        yield
        return
    from custody_pipeline.simulator.demo import demo_environment

    with demo_environment(settings_of_environment().home.absolute(), demo, say):
        yield


def is_home_of_demo() -> bool:
    """Whether commands start the demo's servers here."""
    return _demo_of_home() is not None


def _demo_of_home() -> DemoOrganization | None:
    settings = settings_of_environment()
    if settings.export_url or settings.publish_url or settings.s3_endpoint_url:
        return None
    from custody_pipeline.simulator.demo import kept_demo

    return kept_demo(settings.home)
