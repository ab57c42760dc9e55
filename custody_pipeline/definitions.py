"""What `workspace.yaml` loads: the code location that `defs/assembled.py` puts together."""

from custody_pipeline.defs.assembled import defs

__all__ = ["defs"]
