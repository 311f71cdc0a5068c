"""The steps of .github/workflows, one `permix ci` command each."""
