"""Imported by the process that others are forked from, after the product."""

import gc

import duckdb

from custody_pipeline_tests.one_thread import connect
from custody_pipeline_tests.read_once import read_all

duckdb.connect = connect
read_all()
# The garbage collector of a fork leaves out the objects that all forks share.
gc.freeze()
