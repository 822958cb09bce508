"""How fast it is: timing, measurements, back ends, latency tables, prediction."""
