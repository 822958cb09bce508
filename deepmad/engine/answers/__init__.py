"""What comes out of a solve: solutions, their sentences and progress. Every solver and verb may come in."""
