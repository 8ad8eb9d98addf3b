"""Measurements that end as soon as a claim is decided, under intervals that hold at every look."""
