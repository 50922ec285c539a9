"""Starting somebody's program so that every Python in it is watched, and staying with it until it ends.

`command` finds the program, `environment` and `folder` prepare what the bootstrap needs, `supervise` waits.
Nothing here is imported in a watched process.
"""
