"""From score tables to winning rates with intervals. No torch here."""
