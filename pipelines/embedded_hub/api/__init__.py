"""The routes, one page per area of the Hub's protocol; each page ends with its `ROUTES`."""
