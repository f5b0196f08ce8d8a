"""A walk through everything that a user does with a SAM3, on random weights in the public layouts."""
