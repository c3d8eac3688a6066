# Nothing of this module is visible to Python; see lambda_dispatch_testing.http1_face.
