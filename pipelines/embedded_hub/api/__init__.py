"""The routes, one module per area of the Hub's protocol; each module ends with its `ROUTES`."""
