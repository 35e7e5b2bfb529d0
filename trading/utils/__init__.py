"""Pure modules (trade_calculator, risk_controls, candle_statistics), the files of a DATA_DIR, the cache and the log."""
