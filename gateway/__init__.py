"""The thin front of the feature store: resolve ids, wrap, route, forward payloads undecoded."""
