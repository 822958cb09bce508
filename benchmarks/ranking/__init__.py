"""Do the objective and its parts rank networks as training does? Public measurements, read and ranked."""
