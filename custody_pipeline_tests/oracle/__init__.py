"""A randomised end-to-end test whose oracle shares no code and no assumption with the product.

From a seed it invents an organisation's truth, shows it through the platform's interfaces, breaks those at random, runs
the night, and judges what was published by the contract alone.

Belongs here: what the platform's documentation and the vendor's SDK say. Does not: anything learned from the product's
code, its SQL or its simulator. `adapter.py` alone may name the product.
"""
