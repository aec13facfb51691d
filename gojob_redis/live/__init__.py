"""What happens, told to those who listen: topics, listeners, and the one reader that all of them share."""
