"""Who is connected, how each has done, and who is chosen for a round."""
