"""Train, attack and understand adversarially robust spiking neural networks."""
