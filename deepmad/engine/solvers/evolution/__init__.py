"""The evolutionary solver on DEAP's toolbox: islands of networks, and fronts of one cost against the objective."""
