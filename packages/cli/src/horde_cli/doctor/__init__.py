"""`horde doctor`: what on this machine, or on the way to the facilitator, would keep jobs from running."""
