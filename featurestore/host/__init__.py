"""The composition root: the only reader of the environment; decides which services run here."""
