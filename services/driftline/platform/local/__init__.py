"""A broker, a Redis and the workers on one machine, with nothing but Python installed."""
