"""`raw.*` → answers: the tag mapping, the gap reasons, and running the SELECTs of `sql/`.

Belongs here: the inputs of the SQL models, and running them. Does not: the SQL itself (sql/).
"""
