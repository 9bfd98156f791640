"""Where the gradient becomes exactly zero on the way from the loss to the pixels."""
