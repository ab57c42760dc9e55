"""Every stage of the table, in the order of the night."""

from __future__ import annotations

from bench import load, model

STAGES = (load.STAGE, model.STAGE)
