"""What lies in `deploy/` is checked here by the programs that are to use it, as far as these can be had."""
