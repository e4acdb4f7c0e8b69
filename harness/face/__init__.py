"""The public functions behind `import harness`: they make, judge and register.

Command line and notebooks call these and nothing else; `harness/__init__.py` lists them.
"""
