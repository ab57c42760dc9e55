"""Every stage of the table, in the order of the night."""

from __future__ import annotations

from bench import api, diagnosis, hash, history, load, model, peers, publish, seal, verify, whole

STAGES = (
    api.STAGE,
    hash.STAGE,
    hash.WIRE,
    load.STAGE,
    model.STAGE,
    diagnosis.STAGE,
    seal.STAGE,
    *publish.FILES,
    publish.STAGE,
    verify.STAGE,
    whole.STAGE,
    whole.SMALL,
    history.STAGE,
    history.REPLACED,
    peers.STAGE,
)
