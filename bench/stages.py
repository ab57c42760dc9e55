"""Every stage of the table, in the order of the night."""

from __future__ import annotations

from bench import load, model, publish

STAGES = (load.STAGE, model.STAGE, publish.FILES, publish.STAGE)
