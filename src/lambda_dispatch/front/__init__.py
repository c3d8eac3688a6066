"""The client's side: HTTP/1.1 and HTTP/2 in, exchanges out."""
