"""Imported by the process that others are forked from, after the product."""

import gc

from custody_pipeline_tests.read_once import read_all

read_all()
# The garbage collector of a fork leaves out the objects that all forks share.
gc.freeze()
