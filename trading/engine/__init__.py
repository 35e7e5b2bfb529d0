"""The verbs: what the desk does, over ports and never over adapters."""
