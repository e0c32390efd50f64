"""One file a verb, one `run(cfg)` each; `cli.py` maps verbs to these modules."""
