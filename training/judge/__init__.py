"""The judge: how far what a bundle writes is from what people wrote, in numbers that can fail."""
