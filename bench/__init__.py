"""Speed as a ratio to a floor that does the same work with nothing around it, in the same run.

A stage is added in five lines:

1. a module with `_ours(…, folder)` and `_floor(…, folder)`: what is slow to get ready, then `return work`, a callable
   without arguments; only that call is timed, in a process of its own, with `folder` empty and its own;
2. `_same(…, ours, floor)`, given the two folders of the first round: raises AssertionError when the results differ;
3. `@contextmanager def _prepared(size, folder)`, which yields `Prepared(partial(_ours, …), partial(_floor, …),
   partial(_same, …), rows=…, bytes=…)`: what both read is made here, servers run until the block ends;
4. `STAGE = Stage("name", "what ours is", "what the floor is", _prepared, goals={20_000: 2.0})`;
5. its line in `bench/stages.py`.

Belongs here: stages, floors, the table. Does not: timed tests.
"""
