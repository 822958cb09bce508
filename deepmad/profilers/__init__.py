"""How fast a network is. The command line, zoos and the public names come in; the engine is handed what they bring."""
