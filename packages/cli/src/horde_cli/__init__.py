"""The `horde` command: starts, uses and inspects a ComputeHorde, and composes the other packages.

| module | what it answers |
|---|---|
| `main` | which commands exist, and how an error is told |
| `up/` | `horde up`: one directory, one supervisor, two children |
| `serving` | `horde facilitator`, `horde executor run`: the same parts, started apart |
| `submit`, `display` | `horde run`: from a command line to a job, and what is seen meanwhile |
| `records`, `connection` | `horde jobs`, `show`, `logs`, `get`, `cancel` |
| `doctor` | what on this machine would keep jobs from running |
| `operating`, `letting_in`, `machines`, `operator` | what operators do: who may come in, which machines run jobs |
| `joining` | `horde login`, `horde executor install`: the other end of an invitation |
| `values` | reading of the values that options take |
| `places`, `hotkeys` | where files are, and the keys in them |
"""
