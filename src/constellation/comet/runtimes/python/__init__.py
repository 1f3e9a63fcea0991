"""Python: forked from a zygote that has the worker and the standard library loaded."""
