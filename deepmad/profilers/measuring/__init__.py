"""How fast a network runs on this machine: timing, conditions and records. Tables are built from it."""
