"""Live capture: events → conversation documents caught before their tags vanish.

Belongs here: the webhook receiver, the durable spool, the queue, the capture worker, the presigned sidecar, and what an
organisation must install. Does not: judging what a captured tag means (that is SQL's work).
"""
