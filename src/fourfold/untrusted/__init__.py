"""Files that somebody else wrote: read within limits, and refused in one sentence where they do not hold what they say."""
