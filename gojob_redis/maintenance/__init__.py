"""What looks after the data: deadlines, retention, audit, scrubbing."""
