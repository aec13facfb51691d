"""The only place that talks to Redis: clients, key names, scripts, partitions."""
