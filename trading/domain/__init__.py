"""The words of the house: frozen records and one transition table. No Django, no I/O, no clock."""
