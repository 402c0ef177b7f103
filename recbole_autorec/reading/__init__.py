"""Read ratings from files and tables. The layout is detected; the user's options override it."""
