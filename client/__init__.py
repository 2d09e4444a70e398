"""One hospital: its slides, its cohort, its training, its answers. Never imports the server."""
