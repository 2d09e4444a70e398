"""Model, cases and formats shared by both sides. No Flower, no network, no hospital path."""
