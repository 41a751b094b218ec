"""What a request asks of a piece, in musical terms, and how a tokenizer turns it into instructions for each step."""
