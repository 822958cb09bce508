"""Which network to build: the verbs stand here, on the rooms below. The command line and zoos come in by the verbs."""
