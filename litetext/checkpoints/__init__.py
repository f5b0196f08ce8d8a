"""Reading, mapping and writing weights in the public layouts."""
