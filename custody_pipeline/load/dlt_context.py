"""The only settings that dlt reads while it loads.

Belongs here: dlt's settings. Does not: the pipeline (pipeline.py).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dlt.common.configuration.container import Container
from dlt.common.configuration.providers.provider import ConfigProvider
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.runtime.run_context import RunContext

if TYPE_CHECKING:
    from collections.abc import Iterator

# By dlt's names, which are unique without their sections.
_SETTINGS = {
    "add_dlt_load_id": True,  # of `normalize.parquet_normalizer`: each row names its load
    "dlthub_telemetry": False,  # of `runtime`: send nothing to dlt's makers
}


class _Settings(ConfigProvider):
    """dlt looks up each setting under every section. Without sections, a load needs a tenth of the look-ups."""

    name = "custody_pipeline"
    supports_secrets = True
    supports_sections = False

    def get_value(self, key: str, hint: type[Any], pipeline_name: str | None, *sections: str) -> tuple[Any, str]:
        del hint, pipeline_name, sections
        return _SETTINGS.get(key), key


class _Context(RunContext):
    def initial_providers(self) -> list[ConfigProvider]:
        return [_Settings()]


@contextmanager
def own_settings() -> Iterator[None]:
    """Keep dlt from reading environment variables and `.dlt` folders within the block.

    dlt starts its telemetry when it first reads its settings, so enter the block before that.
    """
    with Container().injectable_context(PluggableRunContext(_Context(run_dir="."))):
        yield
