"""What is saved, as plain values; read and written by the same code. No torch."""
