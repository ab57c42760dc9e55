"""`raw.*` → answers: the tag mapping, the gap reasons, and running the SELECTs of `sql/`.

Belongs here: what the SQL models need and what is read from them. Does not: the SQL itself (sql/).
"""
