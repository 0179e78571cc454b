"""Intent, endpoint and fact values, their validation, and the YAML file. Pure: imports nothing of ours, does no I/O."""
