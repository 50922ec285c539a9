"""`loopwatch ui`: the HTML report's page, served while the recording grows. Needs the extra `ui`."""
