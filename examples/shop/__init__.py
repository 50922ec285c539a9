"""What stands behind the routes of examples/app.py, one file per classic way to block an event loop."""
