# Nothing of this module is visible to Python.
