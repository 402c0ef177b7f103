"""Ratings from files and tables: what is in them is found out, and what the user says beats it."""
