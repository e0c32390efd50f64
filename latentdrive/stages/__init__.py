"""What every trained stage is made of: batches to learn from, and a training that learns from them."""
