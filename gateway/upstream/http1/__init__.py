"""A small HTTP/1.1 client on llhttp (httptools): one request, one answer, bounds on everything."""
