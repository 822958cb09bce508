"""The design problem as an exact integer program, solved by OR-Tools' CP-SAT."""
