"""What we refuse: one file a filter. `methods.py` says which ones a stage has, and in which order."""
