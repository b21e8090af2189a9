"""What the benchmark compares: each contender a small class behind ``Contender``, in a file of its own."""
