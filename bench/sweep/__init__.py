"""Sweeps: codes x worker counts x straggler laws x loads x policies on a live cluster.

`plan` checks what is to be measured, `folder` keeps what was; these are pure. `point` measures one
point of a plan on a running cluster, `run` goes through all. What comes out is a `record.Record`
for every system at every point.
"""
