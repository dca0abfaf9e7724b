"""The one DuckDB profile of both engines.

A setting that changes a result is pinned here, so that the same text means the same on either side and on every
host; a setting that opens a door to files, the network or the Python process is shut, and then locked.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

SCHEMA = "feature_store"
"""Where the tables live on both sides, so that `FROM feature_store.quotes` runs verbatim on both."""

_MEMORY = ":memory:"

_MEANING = {
    "default_null_order": "nulls_last",
    "default_order": "asc",
    "integer_division": "false",
    "ieee_floating_point_ops": "true",
    "preserve_insertion_order": "true",
    "preserve_identifier_case": "true",
    "old_implicit_casting": "false",
    "scalar_subquery_error_on_multiple_rows": "true",
    "order_by_non_integer_literal": "false",
    "disable_timestamptz_casts": "false",
    "default_collation": "",
}

_ARROW = {
    "arrow_large_buffer_size": "false",
    "arrow_lossless_conversion": "false",
    "arrow_output_list_view": "false",
    "arrow_output_version": "1.0",
    "produce_arrow_string_view": "false",
}

_SHUT = {
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
}

JOINED_KEYS = 1_000
"""For so many rows on the small side of a join the large side's index is asked; DuckDB's default is 50."""

_PACE = {"dynamic_or_filter_threshold": str(JOINED_KEYS)}

_PROGRESS = ("enable_progress_bar", "enable_progress_bar_print")

_ERRORS = {
    "errors_as_json": "true"
}  # positions and candidates as fields: `featurestore.engine.failures` reads them


def connect(
    path: str | Path = _MEMORY,
    *,
    threads: int,
    memory_limit: str,
    read_only: bool = False,
    spill_folder: Path | None = None,
    changing_memory: bool = False,
) -> duckdb.DuckDBPyConnection:
    """Open a database under the fixed profile; the caller takes a `cursor()` per call.

    DuckDB's errors carry their message as JSON under this profile; `failures.translate` turns them into ours.

    Args:
        path: a file, or `:memory:`.
        threads: worker threads of the engine, at least 1.
        memory_limit: with its unit, such as `4GB`.
        read_only: for a file that exists; its schema is taken as it is.
        spill_folder: where work larger than memory may go; None keeps all of it in memory.
        changing_memory: leave `memory_limit`, and whether progress is counted, alone among the settings, open to SET.

    Raises:
        duckdb.Error: the file can't be opened, is locked by another process, or was written by another version.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        **_MEANING,
        **_ARROW,
        **_SHUT,
        **_PACE,
        **_ERRORS,
        "threads": str(threads),
        "memory_limit": memory_limit,
        "temp_directory": "" if spill_folder is None else str(spill_folder),
        "allowed_configs": ["memory_limit", *_PROGRESS] if changing_memory else [],
    }
    connection = duckdb.connect(str(path), read_only=read_only, config=config)
    # The rest can't be given when a database is opened: the time zone belongs to an extension, and the doors
    # may be shut only when the file is open.
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    if not read_only:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    connection.execute("SET GLOBAL enable_external_access = false")
    if str(path) == _MEMORY and spill_folder is None:
        # A database in a file, or one that spills, needs the file system for itself.
        connection.execute("SET GLOBAL disabled_filesystems = 'LocalFileSystem'")
    connection.execute("SET GLOBAL lock_configuration = true")
    return connection
