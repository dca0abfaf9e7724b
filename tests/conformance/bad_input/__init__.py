"""One table of bad input: the call, the code, the reason, and what the message must name.

What is refused for other reasons than the input, such as pages, leases and outages, is in test_statuses.py.
"""

from tests.conformance.bad_input import ids, key_values, scripts, sql, tables

CASES = [*ids.CASES, *sql.CASES, *key_values.CASES, *tables.CASES, *scripts.CASES]
