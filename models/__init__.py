"""What a policy is: graph neural networks over interference graphs."""
