"""The composition root: the only reader of the environment; decides which services run here."""

import os

# ETL workers are started by exec, with no descriptor of ours: gRPC need not follow a fork, nor log that it does not.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
