"""A world to look at: many triggers, tasks, sessions and weeks of history, written through the scripts themselves."""
