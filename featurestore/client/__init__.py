"""What a data scientist holds: the same methods, blocking (`connect`) or async (`aio.connect`), over the same wire."""
