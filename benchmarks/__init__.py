"""Measures of loopwatch itself: `python -m benchmarks`. They print what they find and assert nothing."""
