# Nothing of this module is visible to Python; see lambda_dispatch_testing.head_face for tests.
