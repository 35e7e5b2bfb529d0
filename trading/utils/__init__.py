"""Two pure modules (trade_calculator, risk_controls) and the adapters of files, cache and log."""
