"""What each part of the network and of its training is worth: the same short training with one thing left out."""
