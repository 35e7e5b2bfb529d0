"""The venue's own examples of legal prices, for whoever has a price grid: calculator, paper market, simulator, adapter.

From Hyperliquid's documentation, "Tick and lot size": five significant figures and 6 less szDecimals decimals at most;
whole numbers always.
"""

PRICES: tuple[tuple[int, str, bool], ...] = (
    (1, "1234.5", True),
    (1, "1234.56", False),
    (1, "0.01234", True),
    (1, "0.012345", False),
    (0, "0.001234", True),
    (0, "0.0012345", False),
    (5, "123456", True),
    (5, "12345.6", False),
    (5, "117365.5", False),
    (5, "0.5", True),
    (5, "9999.25", False),
    (4, "3150.1", True),
    (4, "3150.12", False),
    (4, "999.99", True),
)
"""szDecimals of the coin, the price, and whether it is legal."""
