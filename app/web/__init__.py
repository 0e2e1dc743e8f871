"""The web app of `atoken serve`: one file for each of its tabs."""
