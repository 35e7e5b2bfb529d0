"""Other people's clients against our servers, each with requirements of its own; `make interop` runs them."""
