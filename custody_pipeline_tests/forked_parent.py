"""Imported by the process that others are forked from, after the product."""

import gc

from custody_pipeline_tests.read_once import read_all

read_all()
# No fork looks for garbage among what it shares with the others.
gc.freeze()
