"""The words of the domain: plain dataclasses, their rules, and the errors. No protobuf, no engine, no I/O."""
