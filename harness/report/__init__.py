"""From comparison tables to pages that people read. No torch here."""
