"""From any image to a digit as MNIST has it: load, grey, find the ink, scale and centre."""
