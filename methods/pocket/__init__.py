"""The pocket models: a miniature model zoo trained on pictures that the project renders itself."""
