"""Looking after models: what magics, panel and Python do about them."""
