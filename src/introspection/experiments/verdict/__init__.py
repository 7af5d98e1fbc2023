"""What is it, then? Tests in an order that was fixed before; the first that fails gives a model its class."""
