"""A home of `custody demo` after the demo: its servers, for as long as a command needs them.

Belongs here: finding out that a home is the demo's. Does not: the servers (simulator/demo.py).
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from custody_pipeline.cli.shared import say, settings_of_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    """In a home of the demo, its servers, with the environment that points at them; anywhere else nothing."""
    settings = settings_of_environment()
    demo = None
    if not (settings.export_url or settings.publish_url or settings.s3_endpoint_url):
        from custody_pipeline.simulator.demo import demo_environment, kept_demo

        demo = kept_demo(settings.home)
    if demo is None:
        yield
        return
    with demo_environment(settings.home.absolute(), demo, say):
        yield
