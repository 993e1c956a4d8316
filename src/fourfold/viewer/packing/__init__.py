"""A moving scene as few bytes that a page can evaluate: `write.pack` writes them, `read.Packed` reads them as the page does."""
