"""Channels to the services, for asyncio and for plain threads, with the same limits and habits."""

from __future__ import annotations

import json

import grpc
import grpc.aio

MAX_MESSAGE_BYTES = 80 * 2**20
"""64 MiB of Arrow, and room for what goes around it."""
MAX_METADATA_BYTES = 16 * 1024

# Every call of ours may be repeated: reads change nothing, saves are the same thing twice, a publish carries its id.
# The transport repeats only what no server answered (see `verdicts`), and a stream only before its first message.
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.02s",
                    "maxBackoff": "0.2s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    }
)
_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 1),
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.service_config_disable_resolution", 1),
    # A peer that restarts is found again within a second, not after gRPC's minute of backing off.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A new channel starts afresh, whatever another one to the same target has been through.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)


def open_channel(target: str) -> grpc.aio.Channel:
    """A channel for asyncio stubs; an async context manager. Must be called in the loop that will use it.

    Args:
        target: `host:port` or `unix:/path`; it need not answer yet.
    """
    return grpc.aio.insecure_channel(target, options=_OPTIONS)


def open_sync_channel(target: str) -> grpc.Channel:
    """A channel for plain stubs; a context manager.

    Args:
        target: `host:port` or `unix:/path`; it need not answer yet.
    """
    return grpc.insecure_channel(target, options=_OPTIONS)
