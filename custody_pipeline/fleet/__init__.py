"""Several workers, one log: a night's warehouse is on S3 while nobody runs the night (`CUSTODY_NIGHTS_URL`).

Belongs here: checking a night's warehouse out and in, what nights share, one database over all nights.
Does not: who seals next (publish/claims.py), who runs which night (Dagster).

Below `CUSTODY_NIGHTS_URL`:

    raw/date=…/warehouse.duckdb   the raw part of a night's warehouse; only compare-and-swap changes it
    shared/date=….parquet         what other nights and readers need of the night
    ids/date=….parquet            the recordings and conversations that the night has, for its neighbours
    acts/date=…/<id>.parquet      acts that happened while nobody ran the night; its next run adds them
    acts/together/<id>.parquet    such acts of any nights, which are not divided by night yet
    sealing/date=….rNNNN.json     the content that a worker was sealing, for the worker that finishes it
"""
