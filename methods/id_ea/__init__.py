"""ID-EA (arXiv 2507.11990): a word from celebrities and a face embedding, and an adapter on the text."""
