"""What is hot: the log, the tables in memory, answers by key."""
