"""Published tables as data files, each with its source, and what may be compared with them."""
