"""How fast a network runs on this machine, and under which conditions. Builders of tables and verbs come in."""
