"""The world as the ports promise it: time, the agents beside us, the venues. Adapters raise domain errors only."""
