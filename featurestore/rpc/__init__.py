"""Between the model and the generated stubs: conversions, errors, servers, channels, remote peers."""
