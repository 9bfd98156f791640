"""How the gradient at the pixels is distributed, and how sparse it is."""
