"""The `namespace` backend: Linux namespaces, seccomp and control groups, through the C core."""
