"""Arrow Flight on the gateway's port: training results for any Flight client, payloads undecoded."""
