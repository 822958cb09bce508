"""Building a table on this machine: which networks to time, in chunks that survive a kill. For commands and zoos."""
