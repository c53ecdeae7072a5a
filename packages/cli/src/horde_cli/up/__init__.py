"""`horde up`: a whole horde on one machine, in one directory.

`front` runs in the command that was typed: it takes the directory's lock, makes the keys, and then replaces itself
with the `supervisor`, so that nothing of the command line's machinery stays in memory. The supervisor starts two
`child` processes, the facilitator and the executor, starts them again when they crash, and ends them in order.
These modules import as little as they can, for the same reason.
"""
