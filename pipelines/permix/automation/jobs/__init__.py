"""Jobs of the Hub that run permix."""
