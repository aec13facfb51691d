"""Triggers before they are due: their definitions, and the slots that are planned ahead."""
