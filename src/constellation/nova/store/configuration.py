"""The settings of the embedded server: small when idle, durable always, silent about what statements carry."""

from __future__ import annotations

from collections.abc import Mapping

SETTINGS: Mapping[str, str] = {
    "cluster_name": "constellation",
    "listen_addresses": "",  # unix socket only
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    # Memory: chosen for a laptop and for single hosts; the kernel's page cache does the rest.
    "shared_buffers": "32MB",
    "huge_pages": "off",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "io_method": "sync",  # saves three worker processes
    "jit": "off",  # our queries take less time than compiling them
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "max_logical_replication_workers": "0",  # saves the launcher process
    "max_wal_senders": "2",
    # Disk
    "min_wal_size": "64MB",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    # Queues turn over their whole table within minutes.
    "autovacuum_naptime": "30s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    # One file a weekday, begun anew a week later. Statements and row values stay out: they are users' data.
    "logging_collector": "on",
    "log_filename": "postgres-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def render(settings: Mapping[str, str]) -> str:
    """Return the text of postgresql.conf."""
    return "".join(f"{name} = {_quoted(value)}\n" for name, value in settings.items())


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
