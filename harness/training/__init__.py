"""How the embedded models were trained; not part of the installed package."""
