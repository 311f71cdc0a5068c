"""Work in a Job of the Hub instead of here: the same command, on rented hardware, with the same artifact."""
