"""How a training gets its processes: here, several of this machine, or those of a cluster."""
