"""The trading app: everything the Executor Agent knows about opening, watching and closing pair trades."""
