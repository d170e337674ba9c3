"""Training: the plan, the compiled updates, and the loop around them."""
