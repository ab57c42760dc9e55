"""A package for the other side: a signed BagIt folder.

Belongs here: its layout and its checks. Does not: fetching what goes in (operations/packaging.py).
"""
