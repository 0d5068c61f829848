"""What we refuse: one filter a file, each independent of the others, chained by the recipe's order."""
