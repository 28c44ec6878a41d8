"""What puts the program into service, and the code that writes what of it follows from other code."""
