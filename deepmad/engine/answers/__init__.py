"""What comes out of a solve: solutions, their sentences, progress. Nothing here solves; solvers and verbs come in."""
