"""What every process needs: loops, settings, metrics."""
