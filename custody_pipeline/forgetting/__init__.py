"""Forgetting: finding the data of conversations, and removing them so that everything that stays still verifies.

Belongs here: finding, holds, rewriting each kind of place, the order of the steps. Does not: the form of the statement
and its verification (evidence), the requests, and the rows in place of erased recordings (warehouse).
"""
