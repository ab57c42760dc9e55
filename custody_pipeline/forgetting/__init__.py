"""Forgetting: finding what is held of conversations, and removing it so that what stays still verifies.

Belongs here: finder, holds, the rewriting of each kind of place, the order of the steps. Does not: the form of the
statement and its verification (evidence), the requests and the rows that stand for erased recordings (warehouse).
"""
