# Nothing of this module is visible to Python; see http1_face for tests.
