"""How policies do: rollouts, the choice of a weight, films."""
