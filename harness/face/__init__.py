"""The functions behind `import harness`: what makes, judges and registers, as Python sees it.

Command line and notebooks call these and nothing else; `harness/__init__.py` lists them.
"""
