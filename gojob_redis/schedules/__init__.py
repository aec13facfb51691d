"""When a trigger fires: cron, fixed rates, single moments, and time zones."""
