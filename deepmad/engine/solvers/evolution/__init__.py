"""The evolutionary solver on DEAP's toolbox: islands, and fronts against one cost. Rows and verbs come in."""
