"""A feature store in which training and serving run the same SQL, the same code and the same schema."""

__version__ = "0.1.0"
