"""How fast the library is: every part timed against its floor, and two measurements compared."""
