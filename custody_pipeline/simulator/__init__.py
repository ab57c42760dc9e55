"""A local Genesys Cloud organisation and its exporter, for the demo and the tests.

Belongs here: everything about the simulated vendor. Does not: anything the pipeline needs against a real organisation;
nothing outside this package, the demo command and the tests imports it.
"""
