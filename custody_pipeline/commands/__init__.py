"""What `custody …` does: one module a command, returning data that `cli` prints as text or JSON.

Belongs here: putting the pieces together for a person at a terminal. Does not: parsing arguments (cli), logic of the
pipeline itself.
"""
