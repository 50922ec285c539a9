"""From stalls to answers: which line, how often, how long. Pure but for `source` and `liveness`, which look at
this machine."""
