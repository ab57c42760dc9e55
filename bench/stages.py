"""Every stage of the table, in the order of the night. Each has a goal."""

from __future__ import annotations

from bench import api, encrypted, hash, history, load, log, model, produce, publish, seal, verify, whole, workers

STAGES = (
    api.STAGE,
    hash.STAGE,
    hash.WIRE,
    encrypted.LANDING,
    load.STAGE,
    encrypted.LOADING,
    model.STAGE,
    seal.STAGE,
    *publish.FILES,
    verify.STAGE,
    *produce.STAGES,
    whole.STAGE,
    whole.SMALL,
    workers.ONE,
    workers.TWO,
    log.STAGE,
    history.STAGE,
    history.REPLACED,
)
