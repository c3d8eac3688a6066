"""`lambda-dispatch dev`, `lambda-dispatch lambda` and `lambda-dispatch lambda ctl`."""
