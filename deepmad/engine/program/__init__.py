"""The mathematical program: space, limits, objective. It knows no solver; every room above may come in."""
