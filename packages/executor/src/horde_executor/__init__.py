"""The agent that claims jobs and runs their containers on one machine."""
